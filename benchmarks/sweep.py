"""Sixteen learning rates: in one process beside sixteen processes.

    python benchmarks/sweep.py                 # wall seconds of runners, and updates a second
    python benchmarks/sweep.py --count 4

The first half runs `runners/sweep.py` with all rates, and `runners/fast_to_sota.py` once a rate, as
a user would, on the operator of `:smoke`: start, compilation, validation and report included. The
second trains the golden operator without either, where arithmetic is all there is to share.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import write

import ups_jax as ups
from ups_jax import optim
from ups_jax.data import simulate
from ups_jax.emulator import fit_statistics
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import split_key
from ups_jax.stages import STAGES
from ups_jax.train import fit

ROOT = Path(__file__).parent.parent
RATES = (1e-4, 1e-2)
SMALL = [
    "--config=configs/burgers.py:smoke", "--config.stages=operator", "--config.eval.select=operator",
    "--config.eval.forecasters=persistence,mean,operator", "--wandb_mode=disabled",
]  # fmt: skip
CHUNK, CHUNKS, ROUNDS = 20, 3, 3


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=16, help="learning rates; 16")
    count = parser.parse_args().count
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(*RATES, count)]
    found = {"rates": rates, "runners": runners(rates), "golden operator": golden(count)}
    print(f"wrote {write('sweep', found)}")


def runners(rates):
    """Wall seconds of the sweep, and of the runs it stands for, each alone."""
    with tempfile.TemporaryDirectory() as folder:

        def seconds(script, name, *more):
            began = time.perf_counter()
            argv = [sys.executable, str(ROOT / "runners" / script), *SMALL, *more]
            done = subprocess.run(
                [*argv, f"--workdir={folder}/{name}/w"], capture_output=True, text=True, cwd=ROOT
            )
            if done.returncode:
                sys.exit(f"{script} ended with {done.returncode}: {done.stderr[-500:]}")
            return time.perf_counter() - began

        one = f"--config.fit.operator.lr={rates[0]}"
        words = ",".join(str(rate) for rate in rates)
        # Both find their programs and their data again, as every run but the first does.
        seconds("fast_to_sota.py", "warm", one)
        seconds("sweep.py", "warm-all", f"--sweep=fit.operator.lr={words}")
        together = [
            seconds("sweep.py", f"all-{i}", f"--sweep=fit.operator.lr={words}")
            for i in range(ROUNDS)
        ]
        alone = [
            seconds("fast_to_sota.py", f"one-{i}", f"--config.fit.operator.lr={rate}")
            for i, rate in enumerate(rates)
        ]
    whole = float(np.median(together))
    print(f"one process {whole:.1f} s, {len(rates)} processes {sum(alone):.1f} s: "
          f"{whole / sum(alone):.3f}")  # fmt: skip
    return {
        "one process, s": together,
        "a process each, s": alone,
        "ratio": whole / sum(alone),
    }


def golden(count):
    """Updates a second of all networks, side by side and one after another."""
    cfg = ups.load_config("configs/burgers.py")
    emulator, spec = build(cfg), cfg.fit.operator
    data = simulate(emulator.pde, split_key(cfg, "train"), n=512, steps=cfg.data.steps)
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, data))
    many = jax.tree.map(lambda x: jnp.stack([x] * count), params)
    keys = jnp.broadcast_to(jax.random.key(1), (count,))

    def pace(params, key, **more):
        rows = []
        fit(
            STAGES["operator"](emulator), params, data, key, phases=[(CHUNK * CHUNKS, 1)],
            opt=optim.adamw(steps=10**4, lr=spec.lr, warmup=500), batch_size=spec.batch,
            steps_per_call=CHUNK, ema_decay=spec.ema_decay, start_bias=spec.start_bias, augment=emulator.pde.symmetries,
            on_log=lambda step, row: rows.append(row["steps_per_s"]), **more,
        )  # fmt: skip
        return float(np.median(rows[1:]))

    alone, together = [], []
    for _ in range(ROUNDS):
        alone.append(pace(params, jax.random.key(1)))
        together.append(count * pace(many, keys, rates=jnp.linspace(0.1, 1, count)))
    one, all_ = float(np.median(alone)), float(np.median(together))
    print(f"golden operator: {one:.1f} updates/s alone, {all_:.1f} of {count} side by side: "
          f"{one / all_:.2f} of the seconds")  # fmt: skip
    return {"alone, updates/s": alone, "together, updates/s": together, "ratio": one / all_}


if __name__ == "__main__":
    main()
