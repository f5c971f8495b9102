"""Training on several devices: what a second one brings, what is sent, what many would bring.

    python benchmarks/multi_device.py           # every device that is here: cores, or GPUs

The golden recipe's operator is trained on the golden grid, an update of one step, three ways in
turns: on one device, on all of them with as many samples each (weak), and with as many in all
(strong). On a CPU a device is a core, first as two devices of one process, then as two processes
that meet over loopback. Bytes a step are those of the collectives in the compiled program of eight
devices. The model of 8, 64 and 512 GPUs adds their time on paper to a device's own step; what it
assumes is printed with it.
"""

import argparse
import json
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np
from record import write

CHUNK, CHUNKS, ROUNDS = 25, 5, 3
SIZES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "f64": 8, "bf16": 2}
KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
GPU = {
    "TFLOP/s attained": 10.0,
    "GB/s within a node of 8": 450.0,
    "GB/s between nodes, each GPU": 50.0,
    "microseconds a collective": 20.0,
    "microseconds a doubling of nodes": 5.0,
}
"""An H100 on paper: a sixth of its float32 peak, NVLink 4, 400 Gb/s InfiniBand a GPU, NCCL."""


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(json.loads(args.worker))
        return
    on_cpu = jax.default_backend() == "cpu"
    cores = sorted(os.sched_getaffinity(0)) if on_cpu else []
    n = 2 if on_cpu else jax.device_count()
    if on_cpu and len(cores) < n:
        sys.exit("two cores are needed to see what a second one brings")
    found = {"measured": measured(n, cores), "bytes": {}, "model": {}}
    for data, fsdp in ((8, 1), (1, 8)):
        name = f"data {data}, fsdp {fsdp}"
        found["bytes"][name] = sent(data, fsdp)
        each = found["bytes"][name]
        print(f"{name}: {each['bytes a step']:,} bytes a step in {each['collectives a step']} "
              f"collectives, parameters {each['parameters']:,}")  # fmt: skip
    found["model"] = model(found["bytes"]["data 8, fsdp 1"])
    print(f"wrote {write('multi_device', found)}")


def measured(n, cores):
    """Updates a second of every way, medians over rounds in turns, and efficiencies."""
    own = golden().fit.operator.batch
    one = {"batch": own, "cores": cores[:1], "devices": 1}
    ways = {"one device": [one]}
    for kind, batch in (("weak", n * own), ("strong", own)):
        ways[f"{n} devices, {kind}"] = [{"batch": batch, "cores": cores[:n], "devices": n}]
        if cores:
            # Not pinned: on one core, Gloo's thread and the program's wait for each other.
            many = [{"batch": batch, "devices": 1, "process": i, "processes": n} for i in range(n)]
            ways[f"{n} processes, {kind}"] = many
    pace = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, workers in ways.items():
            pace[name].append(run(workers))
    each = {name: float(np.median(values)) for name, values in pace.items()}
    alone, out = each["one device"], {}
    for name, value in each.items():
        share = n if name.endswith("strong") else 1
        out[name] = {"updates/s": value, "efficiency": value / (alone * share), "of": pace[name]}
        print(f"{name}: {value:.1f} updates/s, efficiency {out[name]['efficiency']:.2f}")
    return out


def run(workers, **extra):
    """Updates a second of one training by one process, or by several that meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    started = []
    for each in workers:
        told = {**each, "address": address} if "process" in each else each
        flags = f"--xla_force_host_platform_device_count={each['devices']}"
        env = {**os.environ, "XLA_FLAGS": f"{flags} {extra.get('flags', '')}"}
        # The parent has counted the GPUs, and would hold their memory.
        env |= {"JAX_PLATFORMS": "cpu"} if "flags" in extra else {}
        env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        argv = [sys.executable, __file__, "--worker", json.dumps(told)]
        started.append(subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit("a worker failed; its message stands above")
    return json.loads(said[0].splitlines()[-1])


def golden():
    """The golden config."""
    import ups_jax as ups

    return ups.load_config("configs/burgers.py")


def work(told):
    """Train a little, on the devices of this process or of all that meet; print the pace."""
    if told.get("cores"):
        os.sched_setaffinity(0, told["cores"])
    if "process" in told:
        jax.distributed.initialize(told["address"], told["processes"], told["process"])
    import ups_jax as ups
    from ups_jax import optim, sharding
    from ups_jax.data import simulate
    from ups_jax.emulator import fit_statistics
    from ups_jax.experiment.build import build
    from ups_jax.experiment.datasets import split_key
    from ups_jax.stages import STAGES
    from ups_jax.train import fit

    fsdp = told.get("fsdp", 1)
    grid = sharding.make_mesh(
        data=None if "process" in told else told["devices"] // fsdp, fsdp=fsdp
    )
    cfg = golden()
    emulator, spec, rows = build(cfg), cfg.fit.operator, []
    data = simulate(emulator.pde, split_key(cfg, "train"), n=512, steps=cfg.data.steps)
    fit(
        STAGES["operator"](emulator), ups.init(emulator, jax.random.key(0), fit_statistics(emulator, data)), data,
        jax.random.key(1), opt=optim.adamw(steps=10**4, lr=spec.lr, warmup=500),
        phases=[(CHUNK * told.get("chunks", CHUNKS), 1)], batch_size=told["batch"], steps_per_call=CHUNK,
        ema_decay=spec.ema_decay, start_bias=spec.start_bias, augment=emulator.pde.symmetries,
        mesh=grid,
        on_log=lambda step, row: rows.append(row["steps_per_s"]),
    )  # fmt: skip
    print(json.dumps(float(np.median(rows[1:] or rows))))


def sent(data, fsdp):
    """Bytes and collectives of an update in the program compiled for data x fsdp devices."""
    cfg = golden()
    with tempfile.TemporaryDirectory() as folder:
        batch = cfg.fit.operator.batch * data * fsdp
        worker = {"batch": batch, "devices": data * fsdp, "fsdp": fsdp, "chunks": 1}
        run([worker], flags=f"--xla_dump_to={folder} --xla_dump_hlo_as_text")
        programs = [p.read_text() for p in Path(folder).glob("*after_optimizations.txt")]
    text = max((t for t in programs if re.search(KINDS, t)), key=len)
    # Updates are the body of a loop; what stands in the entry happens once a chunk.
    inner = text[: text.index("\nENTRY")]
    pattern = rf"= (\([^)]*\)|\S+) (?:{KINDS})(?:-start)?\("
    shapes = re.findall(pattern, inner)
    total = sum(size(shape) for shape in shapes)
    kinds = re.findall(rf"= (?:\([^)]*\)|\S+) ({KINDS})(?:-start)?\(", inner)
    return {
        "bytes a step": total,
        "collectives a step": len(shapes),
        "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "parameters": parameters(cfg),
    }


def size(shape):
    """Bytes of an HLO shape, or of a tuple of them."""
    found = re.findall(r"(\w+)\[([\d,]*)\]", shape)
    return sum(
        SIZES[kind] * math.prod(int(d) for d in dims.split(",") if d)
        for kind, dims in found
        if kind in SIZES
    )


def parameters(cfg):
    """Parameters of the golden operator."""
    import ups_jax as ups
    from ups_jax.emulator import num_params
    from ups_jax.experiment.build import build

    emulator = build(cfg)
    like = jax.eval_shape(lambda: ups.init(emulator, jax.random.key(0)))
    return num_params(like["operator"])


def model(traffic):
    """Milliseconds of an update on many GPUs with the golden batch on each: compute, then send."""
    from ups_jax.experiment.build import build
    from ups_jax.experiment import schedule

    cfg = golden()
    steps = schedule.phases_of(build(cfg), cfg, "operator")
    unrolls = sum(count * unroll for count, unroll in steps)
    flop = schedule.training_flops(build(cfg), cfg, "operator") / unrolls
    own = flop / (GPU["TFLOP/s attained"] * 1e12) * 1e3
    out = {"assumed": GPU, "GFLOP a step on each": flop / 1e9, "ms alone": own, "on": {}}
    print(f"on paper, {flop / 1e9:.1f} GFLOP a step on each GPU, nothing overlapped: {GPU}")
    for n in (8, 64, 512):
        nodes = n // 8
        wide = GPU["GB/s within a node of 8" if nodes == 1 else "GB/s between nodes, each GPU"]
        ring = 2 * (n - 1) / n * traffic["bytes a step"] / (wide * 1e9) * 1e3
        wait = GPU["microseconds a collective"] + GPU[
            "microseconds a doubling of nodes"
        ] * math.log2(nodes)
        wait *= traffic["collectives a step"] / 1e3
        whole = own + ring + wait
        out["on"][n] = {"ms": whole, "sending": ring, "waiting": wait, "efficiency": own / whole}
        print(f"{n} GPUs: {whole:.2f} ms a step ({ring:.3f} sending, {wait:.3f} waiting), "
              f"efficiency {own / whole:.2f}")  # fmt: skip
    return out


if __name__ == "__main__":
    main()
