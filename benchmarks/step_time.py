"""Milliseconds of a training step and of a rollout: ours beside PyTorch and pdequinox.

`python benchmarks/step_time.py` needs the peers' environment (`make .venv-peers/.ready`). A step is
forward, backward and AdamW on 256 points; a rollout has 40 steps. Ours is the library's own chunk
of updates (with windows, augmentation, clipping and EMA, which the peers are spared) and one
`ups.forecast`. PyTorch is an eager loop on tensors in memory; `--compile` adds `torch.compile`.

Networks have equal width, modes, layers, dilations and activation; ours are built without
modulation by the PDE's parameters, which the peers have not. What remains unequal: `neuraloperator`
applies GELU twice a layer and has no residual connection, so that the same network is also measured
in plain PyTorch; pdequinox lifts and projects 1-wide, with the activation behind each convolution,
and its FNO has no residual connection and a projection of one layer. Its ConvNet has no residual
blocks and no dilation: nothing of ours is equal to it.

The contenders of a row take turns, PyTorch first, each framework in a process of its own that
sleeps while another runs. Compilation is apart. Prints medians and ratios, writes JSON.
"""

import argparse
import json
import os
import subprocess
import time
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import jax
import jax.numpy as jnp
from record import write

import ups_jax as ups
from ups_jax import optim, stages, train
from ups_jax.emulator import Emulator, num_params
from ups_jax.models import OPERATORS, layers
from ups_jax.pde import PDES

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
PACKAGES = "torch neuraloperator pdequinox equinox exponax jax optax".split()
SIZES = {
    "fno": dict(width=32, modes=16, layers=4),
    "resnet": dict(width=40, blocks=3, dilations=(1, 2, 4, 8, 2)),
}
POINTS, SAMPLES, ROLLOUT, PAUSE = 256, 256, 40, 0.2
TASKS = (("train", 32), ("train", 8), ("rollout", 1), ("rollout", 32))
BARS = {("train", 32): 1.0, ("train", 8): 1.0, ("rollout", 1): 1 / 3, ("rollout", 32): 1.0}
"""Largest allowed ratio of our milliseconds to those of the fastest PyTorch contender."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="training steps a turn")
    parser.add_argument("--rollouts", type=int, default=5, help="rollouts a turn")
    parser.add_argument("--only", default="fno,resnet", help="networks, comma separated")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    args = parser.parse_args()
    rows = []
    for network in args.only.split(","):
        for task, batch in TASKS:
            turns = args.steps if task == "train" else args.rollouts
            # Fresh processes for every row: nothing that another row left behind takes part.
            workers = {name: Worker(name) for name in ("torch_steps", "equinox_steps")}
            makers = contenders(network, task, batch, turns, workers, args.compile)
            rows += take_turns(makers, args.rounds, dict(network=network, task=task, batch=batch))
            for worker in workers.values():
                worker.close()
            show(rows[-len(makers) :])
    versions = json.loads(_ask_peers())
    path = write("step_time", {"rows": rows, "peer_versions": versions, "points": POINTS})
    print(path)


class Worker:
    """A process of the peers' environment that times on request."""

    def __init__(self, framework):
        script = ROOT / "benchmarks" / "peers" / "worker.py"
        self.process = subprocess.Popen(
            [PEERS, script, framework], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def time(self, **request):
        """Milliseconds a call, and the network's parameters."""
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peers' worker ended with {self.process.wait()}; see above")
        found = json.loads(answer)
        return found["ms"], found["parameters"]

    def close(self):
        """End of its input is the end of it."""
        self.process.stdin.close()
        self.process.wait()


def contenders(network, task, batch, turns, workers, compiled):
    """{name: function that takes one turn}, PyTorch first."""
    size = SIZES[network]
    common = dict(size=size, task=task, batch=batch, steps=turns)

    def peer(framework, network, **more):
        name = f"{network} {more}"
        return partial(workers[framework].time, id=name, network=network, **common, **more)

    found = {"PyTorch": peer("torch_steps", network)}
    if network == "fno":
        found["PyTorch, neuraloperator"] = peer("torch_steps", "neuraloperator_plain")
    if batch <= 8:  # small work, where a second thread may cost more than it brings
        found["PyTorch, one thread"] = peer("torch_steps", network, threads=1)
    if compiled:
        found["PyTorch, compiled"] = peer("torch_steps", network, compile=True)
    found["ups_jax"] = ours(network, size, task, batch, turns)
    if network == "resnet" and jax.default_backend() == "cpu":
        # `lax.conv` in a scan is slow enough for a fifth of the turns to tell.
        few = max(1, turns // 5)
        with patch.object(layers, "cpu_conv", layers.native_conv):
            found["ups_jax, lax.conv"] = ours(network, size, task, batch, few)
    found["pdequinox"] = peer("equinox_steps", network)
    return found


def ours(network, size, task, batch, turns):
    """Compile one of ours, and give the function that takes a turn with it."""
    pde = PDES["burgers"](points=POINTS)
    emulator = Emulator(pde, OPERATORS[network](ndim=1, channels=1, params=0, **size))
    params = ups.init(emulator, jax.random.key(0))
    make = {"rollout": _rollout, "train": _train}[task]
    run = make(emulator, params, batch, turns)
    run()

    def turn():
        began = time.perf_counter()
        run()
        return (time.perf_counter() - began) / turns * 1e3, num_params(params["operator"])

    return turn


def _train(emulator, params, batch, turns):
    """A chunk of `turns` one-step updates, as `fit` compiles it."""
    stage, opt = stages.operator(emulator), optim.adamw(steps=10**6)
    chunk = partial(
        train._chunk, stage.loss, opt, emulator.pde.symmetries, turns, batch, 2, 0.998, 2.0
    )
    u = jax.random.normal(jax.random.key(1), (SAMPLES, 2, POINTS, 1))
    args = {"stats": params["stats"]}, u, jnp.full((SAMPLES, 1), 1e-3), jax.random.key(2)
    held = [train.init_state(stage, params, opt).state]
    compiled = jax.jit(chunk, donate_argnums=0).lower(held[0], *args).compile()

    def run():
        held[0], means = compiled(held[0], *args)
        jax.device_get(means)

    return run


def _rollout(emulator, params, batch, turns):
    u0 = jax.random.normal(jax.random.key(1), (batch, POINTS, 1))
    cond, key = jnp.full((batch, 1), 1e-3), jax.random.key(2)

    def run():
        for _ in range(turns):
            out = ups.forecast(emulator, params, u0, cond, key, steps=ROLLOUT, mode="operator")
            jax.block_until_ready(out.u)

    return run


def take_turns(contenders, rounds, row):
    """Rows with the median of each contender, and its ratio to the fastest PyTorch."""
    times, parameters = {name: [] for name in contenders}, {}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            time.sleep(PAUSE)  # threads of the contender before stop spinning
            ms, parameters[name] = run()
            if turn:  # the first warms up
                times[name].append(ms)
    ms = {name: median(values) for name, values in times.items()}
    fastest = min(value for name, value in ms.items() if name.startswith("PyTorch"))
    rows = [
        {
            **row,
            "contender": name,
            "ms": ms[name],
            "quartiles": [sorted(times[name])[len(times[name]) * q // 4] for q in (1, 3)],
            "parameters": parameters[name],
            "ratio_to_pytorch": ms[name] / fastest,
        }
        for name in contenders
    ]
    for found in rows:
        if found["contender"] == "ups_jax":
            found["bar"] = BARS[row["task"], row["batch"]]
    return rows


def show(rows):
    first = rows[0]
    print(f"\n{first['network']}, {first['task']}, batch {first['batch']}")
    print(f"{'':24} parameters  ms        / PyTorch's fastest")
    for row in rows:
        bar = f"  (bar {row['bar']:.2f})" if "bar" in row else ""
        print(
            f"{row['contender']:24} {row['parameters']:<11} {row['ms']:<9.3f} "
            f"{row['ratio_to_pytorch']:.2f}{bar}",
            flush=True,
        )


def _ask_peers():
    """Versions of the peers' packages, as JSON."""
    code = "import json; from importlib.metadata import version; "
    code += f"print(json.dumps({{n: version(n) for n in {PACKAGES}}}))"
    asked = subprocess.run([PEERS, "-c", code], capture_output=True, text=True, check=True)
    return asked.stdout


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
