"""Time of a training step and of a rollout: ours, PyTorch's and pdequinox's.

Needs the peers' environment (`make .venv-peers/.ready`). A step is forward, backward and AdamW on
256 points; a rollout has 40 steps. Ours is the library's own call of updates (with windows,
augmentation, clipping and EMA, which the peers do not have) and one `ups.forecast`. PyTorch is an
eager loop on tensors in memory; `--compile` adds `torch.compile`.

Networks have equal width, modes, layers, dilations and activation; ours are built without
modulation by the PDE's parameters, which the peers lack. Differences that remain: `neuraloperator`
applies GELU twice a layer and has no residual connection, so that the same network is also measured
in plain PyTorch; pdequinox lifts and projects 1-wide, with the activation after each convolution,
and its FNO has no residual connection and a projection of one layer. `dilated` is its network but
for the activation, GELU. It has no network that equals our U-Net or our transformer.

The contenders of a row take turns, PyTorch first, each framework in a process of its own that
sleeps while another runs. Compilation is excluded. Bars: no slower than the fastest PyTorch, three
times faster for a single rollout.
"""

import json
import os
import subprocess
import time
from functools import partial
from statistics import median
from unittest.mock import patch

import jax
import jax.numpy as jnp

import ups_jax as ups
from benchmarks.record import PEERS_PYTHON, ROOT
from benchmarks.training import updates_program
from ups_jax.emulator import Emulator
from ups_jax.models import OPERATORS, layers
from ups_jax.pde import PDES
from ups_jax.train import Recipe

PEER_PACKAGES = "torch neuraloperator pdequinox equinox exponax jax optax".split()
SIZES = {
    "fno": dict(width=32, modes=16, layers=4),
    "resnet": dict(width=40, blocks=3, dilations=(1, 2, 4, 8, 2)),
    "dilated": dict(width=32, blocks=2, dilations=(1, 2, 4, 2, 1)),
    "unet": dict(width=32, channel_mult=(1, 2, 4)),
    "transformer": dict(width=64, layers=4, heads=4, mlp_ratio=2, patch=4),
}
PDEQUINOX = ("fno", "resnet", "dilated")
"""Networks that pdequinox has too."""
POINTS, ROLLOUT, PAUSE_S = 256, 40, 0.2
TASKS = (("train", 32), ("train", 8), ("rollout", 1), ("rollout", 32))
BARS = {("train", 32): 1.0, ("train", 8): 1.0, ("rollout", 1): 1 / 3, ("rollout", 32): 1.0}
"""Largest allowed ratio of our milliseconds to those of the fastest PyTorch contender."""


def add_flags(parser):
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="training steps a turn")
    parser.add_argument("--rollouts", type=int, default=5, help="rollouts a turn")
    parser.add_argument("--only", default=",".join(SIZES), help="networks, comma separated")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")


def run(options):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if options.quick:
        options.rounds, options.steps, options.rollouts = 1, 5, 1
    rows = []
    for network in options.only.split(","):
        for task, batch in TASKS:
            count = options.steps if task == "train" else options.rollouts
            # Fresh processes for every row, so that rows do not influence one another.
            names = ["torch_steps", *["equinox_steps"] * (network in PDEQUINOX)]
            workers = {name: Worker(name) for name in names}
            programs = contenders(network, task, batch, count, workers, options.compile)
            setting = dict(network=network, task=task, batch=batch)
            rows += take_turns(programs, options.rounds, setting)
            for worker in workers.values():
                worker.close()
            show(rows[-len(programs) :])
    return {"rows": rows, "peer_versions": peer_versions(), "points": POINTS}


class Worker:
    """A process of the peers' environment that times on request."""

    def __init__(self, framework):
        script = ROOT / "benchmarks" / "peers" / "worker.py"
        self.process = subprocess.Popen(
            [PEERS_PYTHON, script, framework],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time(self, **request):
        """Return the milliseconds of a call, and the network's parameters."""
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peers' worker ended with {self.process.wait()}; see above")
        answer = json.loads(line)
        return answer["ms"], answer["parameters"]

    def close(self):
        """End the process by closing its input."""
        self.process.stdin.close()
        self.process.wait()


def contenders(network, task, batch, count, workers, compiled):
    """Return {name: function that runs one turn of `count` steps}, PyTorch first."""
    size = SIZES[network]
    common = dict(size=size, task=task, batch=batch, steps=count)

    def peer(framework, network, **options):
        name = f"{network} {options}"
        return partial(workers[framework].time, id=name, network=network, **common, **options)

    programs = {"PyTorch": peer("torch_steps", network)}
    if network == "fno":
        programs["PyTorch, neuraloperator"] = peer("torch_steps", "neuraloperator_plain")
    if batch <= 8:  # a second thread may slow small work down
        programs["PyTorch, one thread"] = peer("torch_steps", network, threads=1)
    if compiled:
        programs["PyTorch, compiled"] = peer("torch_steps", network, compile=True)
    programs["ups_jax"] = ours(network, size, task, batch, count)
    if network == "resnet" and jax.default_backend() == "cpu":
        # `lax.conv` in a scan is so slow that a fifth of the steps suffices.
        few = max(1, count // 5)
        with patch.object(layers, "gathered_conv", layers.native_conv):
            programs["ups_jax, lax.conv"] = ours(network, size, task, batch, few)
    if network in PDEQUINOX:
        programs["pdequinox"] = peer("equinox_steps", network)
    return programs


def ours(network, size, task, batch, count):
    """Compile one of our networks; return the function that runs a turn with it."""
    pde = PDES["burgers"](points=POINTS)
    emulator = Emulator(pde, OPERATORS[network](ndim=1, channels=1, params=0, **size))
    params = ups.init(emulator, jax.random.key(0))
    run = {"rollout": rollout_program, "train": train_program}[task](emulator, params, batch, count)
    run()

    def turn():
        began = time.perf_counter()
        run()
        ms = (time.perf_counter() - began) / count * 1e3
        return ms, ups.num_params(params["operator"])

    return turn


def train_program(emulator, params, batch, count):
    recipe = Recipe(
        steps=10**5 * count, batch=batch, start_bias=2.0, steps_per_call=count, val_every=0
    )
    return updates_program(emulator, params, recipe)[1]


def rollout_program(emulator, params, batch, count):
    u0 = jax.random.normal(jax.random.key(1), (batch, POINTS, 1))
    cond, key = jnp.full((batch, 1), 1e-3), jax.random.key(2)

    def run():
        for _ in range(count):
            out = ups.forecast(
                emulator, params, u0, cond, key, steps=ROLLOUT, forecaster="operator"
            )
            jax.block_until_ready(out.u)

    return run


def take_turns(programs, rounds, setting):
    """Return a row for each contender: its median, and the ratio to the fastest PyTorch."""
    times, parameters = {name: [] for name in programs}, {}
    for turn in range(rounds + 1):
        for name, run in programs.items():
            time.sleep(PAUSE_S)  # until threads of the previous contender stop spinning
            ms, parameters[name] = run()
            if turn:  # the first turn warms up
                times[name].append(ms)
    ms = {name: median(values) for name, values in times.items()}
    fastest = min(value for name, value in ms.items() if name.startswith("PyTorch"))
    rows = [
        {
            **setting,
            "contender": name,
            "ms": ms[name],
            "quartiles": [sorted(times[name])[len(times[name]) * q // 4] for q in (1, 3)],
            "parameters": parameters[name],
            "ratio_to_pytorch": ms[name] / fastest,
        }
        for name in programs
    ]
    for row in rows:
        if row["contender"] == "ups_jax":
            row["bar"] = BARS[setting["task"], setting["batch"]]
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


def peer_versions():
    """Return the versions of the peers' packages."""
    code = "import json; from importlib.metadata import version; "
    code += f"print(json.dumps({{n: version(n) for n in {PEER_PACKAGES}}}))"
    done = subprocess.run([PEERS_PYTHON, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
