"""Time of sixteen learning rates in one process and in sixteen processes.

`runners`: wall seconds of `runners/sweep.py` with all rates, and of `runners/fast_to_sota.py` once
a rate, on the operator of `:smoke`; start, compilation, validation and report are included.
`golden`: updates a second of the golden operator, all networks side by side and one alone, without
start or validation.
"""

import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import ROOT
from benchmarks.training import golden, one_phase, train_timed

LR_RANGE = (1e-4, 1e-2)
SMOKE = [
    "--config=configs/burgers.py:smoke", "--config.stages=operator", "--wandb_mode=disabled",
    "--config.eval.select=operator", "--config.eval.forecasters=persistence,mean,operator",
]  # fmt: skip
STEPS_PER_CALL, CALLS, ROUNDS = 20, 3, 3


def add_flags(parser):
    parser.add_argument("--count", type=int, default=16, help="learning rates; 16")


def run(options):
    count, rounds = (2, 1) if options.quick else (options.count, ROUNDS)
    lrs = [float(f"{lr:.3g}") for lr in np.geomspace(*LR_RANGE, count)]
    return {"rows": [runner_seconds(lrs, rounds), network_rates(count, rounds)], "lrs": lrs}


def runner_seconds(lrs, rounds):
    """Return the wall seconds of the sweep and of single runs, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:

        def seconds(script, name, *flags):
            began = time.perf_counter()
            argv = [sys.executable, str(ROOT / "runners" / script), *SMOKE, *flags]
            done = subprocess.run(
                [*argv, f"--workdir={folder}/{name}/w"], capture_output=True, text=True, cwd=ROOT
            )
            if done.returncode:
                sys.exit(f"{script} ended with {done.returncode}: {done.stderr[-500:]}")
            return time.perf_counter() - began

        sweep_flag = f"--sweep=fit.operator.lr={','.join(str(lr) for lr in lrs)}"
        # Warm the caches of programs and data, which every run but a first one finds.
        seconds("fast_to_sota.py", "warm", f"--config.fit.operator.lr={lrs[0]}")
        seconds("sweep.py", "warm-all", sweep_flag)
        together = [seconds("sweep.py", f"all-{i}", sweep_flag) for i in range(rounds)]
        alone = [
            seconds("fast_to_sota.py", f"one-{i}", f"--config.fit.operator.lr={lr}")
            for i, lr in enumerate(lrs)
        ]
    ratio = float(np.median(together)) / sum(alone)
    print(f"one process {np.median(together):.1f} s, {len(lrs)} processes {sum(alone):.1f} s: "
          f"{ratio:.3f}")  # fmt: skip
    return {
        "row": "runners", "one_process_s": together, "separate_processes_s": alone, "ratio": ratio,
    }  # fmt: skip


def network_rates(count, rounds):
    """Return updates a second of all networks, side by side and one after another."""
    _, emulator, params, data, recipe = golden(512)
    recipe = one_phase(recipe, unroll=1, calls=CALLS, steps_per_call=STEPS_PER_CALL)
    stacked = jax.tree.map(lambda x: jnp.stack([x] * count), params)
    keys = jnp.broadcast_to(jax.random.key(1), (count,))

    def rate(params, key, **options):
        return float(np.median(train_timed(emulator, params, data, key, recipe, **options)[1][1:]))

    alone, together = [], []
    for _ in range(rounds):
        alone.append(rate(params, jax.random.key(1)))
        together.append(count * rate(stacked, keys, lr_factors=jnp.linspace(0.1, 1, count)))
    ratio = float(np.median(alone)) / float(np.median(together))
    print(f"golden operator: {np.median(alone):.1f} updates/s alone, {np.median(together):.1f} of "
          f"{count} side by side: {ratio:.2f} of the seconds")  # fmt: skip
    return {
        "row": "golden", "alone_updates_per_s": alone, "together_updates_per_s": together,
        "ratio": ratio,
    }  # fmt: skip
