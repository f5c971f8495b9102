"""Training from disk: updates a second against memory, and peak memory with a large file.

`throughput`: the golden operator trained on the golden data from memory and from a copy on disk, in
turns, in one process; bar: within 20 %. `memory`: a file in PDEBench's layout (simulated
trajectories, shifted and scaled so that no two are equal), and a training on it in a process of its
own; its peak resident memory is compared with that of a process that only imports the library.
"""

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

import ups_jax as ups
from benchmarks.record import ROOT, merge_rows
from benchmarks.training import GOLDEN, golden, one_phase, train_timed
from ups_jax.data import DiskFields

STEPS_PER_CALL, CALLS, ROUNDS, UNROLLS = 100, 3, 3, (1, 4)
CHILD = """
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


def add_flags(parser):
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the file; 4")
    parser.add_argument("--only", choices=("throughput", "memory"), help="keep the other rows")


def run(options):
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "memory":
            rows += throughput(Path(folder), quick=options.quick)
        if options.only != "throughput":
            rows.append(memory(0.1 if options.quick else options.gigabytes, folder))
    return {"rows": merge_rows(options.out if options.only else None, rows)}


def throughput(folder, *, quick):
    """Return the median updates a second from memory and from disk at each unroll length."""
    _, emulator, params, data, recipe = golden(64 if quick else None)
    np.asarray(data.u).tofile(folder / "u.f32")
    on_disk = replace(data, u=DiskFields(folder / "u.f32", data.u.shape))
    rows = []
    for unroll in UNROLLS[: 1 if quick else None]:
        short = one_phase(
            recipe, unroll=unroll, calls=CALLS, steps_per_call=10 if quick else STEPS_PER_CALL
        )
        rates = {"memory": [], "disk": []}
        for _ in range(1 if quick else ROUNDS):
            for name, split in (("memory", data), ("disk", on_disk)):
                key = jax.random.key(1)
                values = train_timed(emulator, params, split, key, short)[1]
                rates[name].append(float(np.median(values[1:])))
        medians = {name: float(np.median(values)) for name, values in rates.items()}
        ratio = medians["disk"] / medians["memory"]
        rows.append({"row": f"unroll {unroll}", **medians, "ratio": ratio})
        print(f"unroll {unroll}: {medians['memory']:.1f} updates/s from memory, "
              f"{medians['disk']:.1f} from disk: {ratio:.3f}")  # fmt: skip
    return rows


def memory(gigabytes, folder):
    """Return the peak resident MiB of training on a large file, and of importing alone."""
    path = Path(folder) / "1D_Burgers_Sols_Nu0.001.hdf5"
    samples = write_file(path, gigabytes)
    argv = [
        f"--config={GOLDEN}", f"--config.data.path={path}", "--config.data.stream=true",
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
    summary = json.loads((Path(folder) / "run" / "summary.json").read_text())
    size = path.stat().st_size / 1e9
    print(f"{size:.2f} GB, {samples} samples: {busy:.0f} MiB at the peak, "
          f"{busy - idle:.0f} above an idle process; {seconds:.0f} s")  # fmt: skip
    return {
        "row": "memory", "file_gb": size, "samples": samples, "idle_mib": idle, "peak_mib": busy,
        "over_idle_mib": busy - idle, "seconds": seconds, "nrmse": summary["eval/nrmse"],
    }  # fmt: skip


def write_file(path, gigabytes):
    """Write PDEBench's layout at 1,024 points and 201 frames; return the number of samples."""
    samples = int(gigabytes * 1e9 / (201 * 1024 * 4))
    cfg = ups.load_config(GOLDEN, {"pde.points": 1024, "pde.dt": 0.01, "data.steps": 200})
    pde = ups.build(cfg).pde
    few = ups.simulate(pde, jax.random.key(7), n=64, steps=200, cache=False)
    u = np.asarray(few.u)[..., 0]
    with h5py.File(path, "w") as file:
        tensor = file.create_dataset("tensor", (samples, 201, 1024), np.float32)
        for i in range(samples):
            # Burgers' equation holds for shifted fields, and for (x, u) -> (-x, -u).
            shifted = np.roll(u[i % 64], 7 * (i // 128) % 1024, -1)
            tensor[i] = -shifted[:, ::-1] if i // 64 % 2 else shifted
        file["x-coordinate"] = (np.arange(1024, dtype=np.float32) + 0.5) / 1024
        file["t-coordinate"] = np.arange(202, dtype=np.float32) * 0.01
        file.attrs["Nu"] = 1e-3
    return samples


def peak(argv):
    """Return the peak resident MiB of a process that runs this command line, or only imports."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *argv], capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.split()[-1])
