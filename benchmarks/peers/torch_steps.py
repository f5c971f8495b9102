"""Programs of PyTorch for the worker: eager training steps and rollouts, on tensors in memory."""

import os
from typing import NamedTuple

import torch
from networks import NETWORKS, count

SAMPLES, POINTS, ROLLOUT = 256, 256, 40


class Program(NamedTuple):
    """`run(n)` does the task n times and waits for it."""

    run: object
    parameters: int


def build(*, network, size, task, batch, threads=None, compile=False):
    """Return a fresh network's `task`: "train" (a step of AdamW) or "rollout" (of 40 steps)."""
    torch.manual_seed(0)
    module = NETWORKS[network](**size)
    forward = torch.compile(module) if compile else module
    make = {"rollout": _rollout, "train": _train}[task]
    inner = make(module, forward, batch)

    def run(steps):
        torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
        inner(steps)

    return Program(run, count(module))


def _train(module, forward, batch):
    """Return the standard loop: draw a batch, relative L2 of one step, backward, AdamW."""
    inputs, targets = torch.randn(2, SAMPLES, 1, POINTS)
    adamw = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=1e-4)

    def run(steps):
        for _ in range(steps):
            index = torch.randint(SAMPLES, (batch,))
            adamw.zero_grad(set_to_none=True)
            u, true = inputs[index], targets[index]
            error = (u + forward(u) - true).flatten(1).norm(dim=1)
            (error / true.flatten(1).norm(dim=1)).mean().backward()
            adamw.step()

    return run


def _rollout(module, forward, batch):
    u0 = torch.randn(batch, 1, POINTS)
    module.eval()

    @torch.inference_mode()
    def run(steps):
        for _ in range(steps):
            u, path = u0, []
            for _ in range(ROLLOUT):
                # Scaled, so that an untrained network does not overflow.
                u = u + 1e-3 * forward(u)
                path.append(u)
            torch.stack(path, 1)

    return run
