"""One PyTorch network in a process of its own, started by time_to_target.

Its argument is JSON: `network` and `size` of networks.py, `recipe`, and `data`, `started`,
`seconds`, `validations` and `steps` as for our own contender; its output has the same form.

Recipe `usual`: AdamW 1e-3, weight decay 1e-4, cosine to zero, batch 32, relative L2 of one step,
normalised input, the next frame predicted directly. Recipe `ours` is that of configs/burgers.py:
the increment, scaled by its deviation, from a head that starts near zero; unrolls of 1, 2, 4 steps,
windows biased to early frames, shifts and reflection, per-sample nRMSE, batch 8, AdamW 3e-3 with
warm-up and cosine, clipping at 1, EMA .998.
"""

import json
import math
import os
import sys
import time

import numpy as np
import torch
from networks import NETWORKS, count
from torch.optim.swa_utils import AveragedModel

from benchmarks.clock import Clock, affordable, send

RECIPES = {
    "usual": dict(
        batch=32, lr=1e-3, decay=1e-4, unroll=(1,), fractions=(1.0,), warmup=0, start_bias=1.0,
    ),
    "ours": dict(
        batch=8, lr=3e-3, decay=1e-5, unroll=(1, 2, 4), fractions=(0.32, 0.39, 0.29), warmup=500,
        start_bias=2.0,
    ),
}  # fmt: skip
CLIP, EMA, HEAD_SCALE, PROBE, CHUNK = 1.0, 0.998, 1e-3, 12, 10


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps library output out of the answers
    order = json.loads(sys.argv[1])
    clock = Clock(order["started"])
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    train, val = (torch.from_numpy(np.load(path)["u"][..., 0]) for path in order["data"])
    emulator = Emulator(NETWORKS[order["network"]](**order["size"]), order["recipe"], train)
    recipe = RECIPES[order["recipe"]]
    if order.get("steps") is None:
        steps = probe(order, clock, emulator, train, recipe)
        send(answers, steps=steps)
        return
    steps = order["steps"]
    send(answers, parameters=count(emulator.network), steps=steps)
    every = max(1, steps // order["validations"])

    def on_step(step, averaged):
        if step % every and step != steps:
            return
        now = clock.now()
        with clock.paused():
            send(answers, s=now, val=validate(averaged, val), step=step)

    training = Training(emulator, train, recipe, steps)
    on_step(0, training.average)
    training.run(on_step)


class Emulator(torch.nn.Module):
    """A network with its scales: u (b, x) -> the frame after it, in physical units."""

    def __init__(self, network, recipe, train):
        super().__init__()
        self.network, self.residual = network, recipe == "ours"
        self.mean, self.std = float(train.mean()), float(train.std())
        self.increment = float((train[:, 1:] - train[:, :-1]).std())
        if self.residual:
            head = network.head if hasattr(network, "head") else network.projection.fcs[-1]
            with torch.no_grad():
                head.weight.mul_(HEAD_SCALE)
                head.bias.zero_()

    def forward(self, u):
        """(b, x) -> (b, x)."""
        y = self.network(((u - self.mean) / self.std)[:, None])[:, 0]
        return u + self.increment * y if self.residual else self.mean + self.std * y


class Training:
    """Updates of an emulator by a recipe; `average` is what is judged."""

    def __init__(self, emulator, train, recipe, steps):
        self.emulator, self.train, self.recipe, self.steps = emulator, train, recipe, steps
        self.residual = emulator.residual
        self.opt = torch.optim.AdamW(
            emulator.parameters(), lr=recipe["lr"], weight_decay=recipe["decay"]
        )
        warmup = min(recipe["warmup"], steps // 4)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.opt, lambda step: _cosine(step, steps, warmup)
        )
        self.average = AveragedModel(emulator, multi_avg_fn=_average) if self.residual else emulator

    def run(self, on_step):
        """Run all updates, phase after phase."""
        ends = np.cumsum([round(share * self.steps) for share in self.recipe["fractions"][:-1]])
        for step in range(1, self.steps + 1):
            phase = int(np.searchsorted(ends, step - 1, side="right"))
            self.update(self.recipe["unroll"][phase])
            on_step(step, self.average)

    def update(self, unroll):
        """Advance the optimizer by one step on a fresh batch of windows."""
        window = draw(self.train, self.recipe["batch"], unroll + 1, self.recipe["start_bias"])
        if self.residual:
            window = augment(window)
        self.opt.zero_grad(set_to_none=True)
        u, loss = window[:, 0], 0.0
        for i in range(unroll):
            u = self.emulator(u)
            loss = loss + nrmse(u, window[:, i + 1]).mean() / unroll
        loss.backward()
        if self.residual:
            torch.nn.utils.clip_grad_norm_(self.emulator.parameters(), CLIP)
        self.opt.step()
        self.schedule.step()
        if self.residual:
            self.average.update_parameters(self.emulator)


def _cosine(step, steps, warmup):
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _average(averages, values, done):
    """Average parameters as our EMA does, with a warmed-up decay."""
    done = int(done) + 1
    decay = min(EMA, (1 + done) / (10 + done))
    for average, value in zip(averages, values, strict=True):
        average.mul_(decay).add_(value, alpha=1 - decay)


def draw(train, batch, length, start_bias):
    """Draw windows (b, length, x) that start at r^start_bias of the horizon, r uniform."""
    starts = train.shape[1] - length + 1
    sample = torch.randint(len(train), (batch,))
    start = (torch.rand(batch) ** start_bias * starts).long().clamp(max=starts - 1)
    return train[sample[:, None], start[:, None] + torch.arange(length)]


def augment(window):
    """Shift each window at random, and apply (x, u) -> (-x, -u) with even chance."""
    b, _, n = window.shape
    mirror = torch.rand(b, 1, 1) < 0.5
    window = torch.where(mirror, -window.flip(-1), window)
    index = (torch.arange(n) + torch.randint(n, (b, 1))) % n
    return window.gather(-1, index[:, None].expand_as(window))


def nrmse(u, true):
    """||u - true|| / ||true|| over x: relative L2, and the nRMSE of a frame."""
    return (u - true).norm(dim=-1) / true.norm(dim=-1).clamp(min=1e-6)


@torch.inference_mode()
def validate(emulator, val):
    """Return the mean nRMSE of a rollout from the first frame (P1)."""
    emulator.eval()
    u, errors = val[:, 0], []
    for i in range(1, val.shape[1]):
        u = emulator(u)
        errors.append(nrmse(u, val[:, i]).mean())
    emulator.train()
    return float(torch.stack(errors).mean())


def probe(order, clock, emulator, train, recipe):
    """Return the updates that fill the budget after imports and data."""
    spent = clock.now()
    training, seconds = Training(emulator, train, recipe, 10**6), []
    for unroll in recipe["unroll"]:
        training.update(unroll)
        began = time.perf_counter()
        for _ in range(PROBE):
            training.update(unroll)
        seconds.append((time.perf_counter() - began) / PROBE)
    return affordable(order["seconds"], spent, seconds, recipe["fractions"], CHUNK)


if __name__ == "__main__":
    main()
