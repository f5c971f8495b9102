"""Training from disk: updates a second beside memory, and the memory it takes.

    python benchmarks/streaming.py                  # both, with a file of 4 GB
    python benchmarks/streaming.py --gigabytes 1

The first half trains the golden recipe's operator on the golden data from memory and from a copy on
disk, in turns, in one process. The second writes a file of PDEBench's layout (simulated
trajectories, shifted and scaled so that no two are equal) and trains on it in a process of its own,
whose peak resident memory is set beside that of one which only imports the library.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import h5py
import jax
import numpy as np
from record import RESULTS, write

import ups_jax as ups
from ups_jax import optim
from ups_jax.data import DiskFields, simulate
from ups_jax.emulator import fit_statistics
from ups_jax.experiment.build import build
from ups_jax.experiment.datasets import split_key
from ups_jax.stages import STAGES
from ups_jax.train import fit

CHUNK, ROUNDS, CHUNKS = 100, 3, 3
RUN = """
import sys
from runners import fast_to_sota
if len(sys.argv) > 1:
    import jax, ups_jax
    code = fast_to_sota.main(sys.argv[1:])
    assert code == 0, code
else:
    import jax, ups_jax, orbax.checkpoint, matplotlib.figure, h5py
    jax.numpy.zeros(3).block_until_ready()
from ups_jax.experiment.environment import peak_mib
print("peak", peak_mib())
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--only", choices=("throughput", "memory"), help="keep the other's numbers")
    args = parser.parse_args()
    held = RESULTS / "streaming.json"
    found = json.loads(held.read_text()) if args.only and held.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "memory":
            found["throughput"] = throughput(Path(folder))
        if args.only != "throughput":
            found["memory"] = memory(args.gigabytes, folder)
    path = write("streaming", found)
    print(f"wrote {path}")


def throughput(folder):
    """Updates a second, from memory and from disk, medians over rounds in turns."""
    cfg = ups.load_config("configs/burgers.py")
    emulator = build(cfg)
    data = simulate(emulator.pde, split_key(cfg, "train"), n=cfg.data.train, steps=cfg.data.steps)
    np.asarray(data.u).tofile(folder / "u.f32")
    stored = replace(data, u=DiskFields(folder / "u.f32", data.u.shape))
    params = ups.init(emulator, jax.random.key(0), fit_statistics(emulator, data))
    spec = cfg.fit.operator
    opt = optim.adamw(steps=10**4, lr=spec.lr, warmup=500)
    pace = {"memory": [], "disk": []}
    for unroll in (1, 4):
        for _ in range(ROUNDS):
            for name, split in (("memory", data), ("disk", stored)):
                rows = []
                fit(
                    STAGES["operator"](emulator), params, split, jax.random.key(1), opt=opt,
                    phases=[(CHUNK * CHUNKS, unroll)], batch_size=spec.batch, steps_per_call=CHUNK,
                    ema_decay=spec.ema_decay, start_bias=spec.start_bias, augment=emulator.pde.symmetries,
                    on_log=lambda step, row, rows=rows: rows.append(row["steps_per_s"]),
                )  # fmt: skip
                pace[name].append((unroll, float(np.median(rows[1:]))))
    out = {}
    for unroll in (1, 4):
        each = {
            k: float(np.median([v for u, v in rows if u == unroll])) for k, rows in pace.items()
        }
        out[f"unroll {unroll}"] = each | {"disk / memory": each["disk"] / each["memory"]}
        print(f"unroll {unroll}: {each['memory']:.1f} updates/s from memory, {each['disk']:.1f} "
              f"from disk: {each['disk'] / each['memory']:.3f}")  # fmt: skip
    return out


def memory(gigabytes, folder):
    """Peak resident MiB of training on a large file, over a process that only imports."""
    path = Path(folder) / "1D_Burgers_Sols_Nu0.001.hdf5"
    samples = big_file(path, gigabytes)
    argv = [
        "--config=configs/burgers.py", f"--config.data.path={path}", "--config.data.stream=true",
        f"--config.data.train={samples - 64}", "--config.data.val=16", "--config.data.test=16",
        "--config.data.space_stride=1", "--config.data.time_stride=5", "--config.pde.points=1024",
        "--config.stages=operator", "--config.eval.select=operator", "--config.eval.horizons=1",
        "--config.eval.forecasters=persistence,mean,operator", "--config.gates.coverage.metric=",
        "--config.fit.operator.steps=600", "--config.fit.operator.warmup=50",
        "--config.fit.operator.val_every=600", "--config.fit.operator.unroll=1,2",
        "--config.fit.operator.phase_fractions=.5,.5",
        f"--workdir={folder}/run", "--wandb_mode=disabled",
    ]  # fmt: skip
    idle, began = peak([]), time.monotonic()
    busy, seconds = peak(argv), time.monotonic() - began
    held = (Path(folder) / "run" / "summary.json").read_text()
    out = {
        "file_gb": path.stat().st_size / 1e9, "samples": samples, "idle_mib": idle,
        "peak_mib": busy, "over_idle_mib": busy - idle, "seconds": seconds,
        "nrmse": json.loads(held)["eval/nrmse"],
    }  # fmt: skip
    print(f"{out['file_gb']:.2f} GB, {samples} samples: {busy:.0f} MiB at the peak, "
          f"{busy - idle:.0f} above an idle process; {seconds:.0f} s")  # fmt: skip
    return out


def big_file(path, gigabytes):
    """A file of that size in PDEBench's layout at 1,024 points and 201 frames -> its samples."""
    samples = int(gigabytes * 1e9 / (201 * 1024 * 4))
    cfg = ups.load_config(
        "configs/burgers.py", {"pde.points": 1024, "pde.dt": 0.01, "data.steps": 200}
    )
    few = simulate(build(cfg).pde, jax.random.key(7), n=64, steps=200, cache=False)
    u = np.asarray(few.u)[..., 0]
    with h5py.File(path, "w") as file:
        tensor = file.create_dataset("tensor", (samples, 201, 1024), np.float32)
        for i in range(samples):
            # Burgers' equation holds for shifted fields; the antithetic one runs the other way.
            shifted = np.roll(u[i % 64], 7 * (i // 128) % 1024, -1)
            tensor[i] = -shifted[:, ::-1] if i // 64 % 2 else shifted
        file["x-coordinate"] = (np.arange(1024, dtype=np.float32) + 0.5) / 1024
        file["t-coordinate"] = np.arange(202, dtype=np.float32) * 0.01
        file.attrs["Nu"] = 1e-3
    return samples


def peak(argv):
    """Peak resident MiB of a process that runs this command line, or only imports."""
    done = subprocess.run([sys.executable, "-c", RUN, *argv], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
