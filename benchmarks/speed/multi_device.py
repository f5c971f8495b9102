"""Training on several devices: speed-up of a second one, bytes sent, and a model of many.

The golden operator is trained on the golden grid with updates of one step: on one device, and on
all of them with as many samples on each (weak) and with as many in all (strong). On a CPU a device
is a core: first two devices of one process, then two processes that meet over loopback. Rollouts of
the operator and of an ensemble share a batch's samples over the devices; "its threads" is one
device on all cores, where XLA's own threads share each operation. `bytes` are those of the
collectives in the program compiled for eight devices. `model` adds their time on paper to a
device's own step for 8, 64 and 512 GPUs; its assumptions are printed and recorded.
"""

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

from benchmarks.record import ROOT

STEPS_PER_CALL, CALLS, ROUNDS = 25, 5, 3
ROLLOUTS = {"operator": {}, "ensemble": {"members": 8}}
BATCH = 16
"""Trajectories of a call of the rollouts, as in `eval.batch`."""
TYPE_BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1, "f64": 8, "bf16": 2}
COLLECTIVES = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
GPU = {
    "TFLOP/s attained": 10.0,
    "GB/s within a node of 8": 450.0,
    "GB/s between nodes, each GPU": 50.0,
    "microseconds a collective": 20.0,
    "microseconds a doubling of nodes": 5.0,
}
"""An H100 on paper: a sixth of its float32 peak, NVLink 4, 400 Gb/s InfiniBand a GPU, NCCL."""


def run(options):
    on_cpu = jax.default_backend() == "cpu"
    cores = sorted(os.sched_getaffinity(0)) if on_cpu else []
    n = 2 if on_cpu else jax.device_count()
    if on_cpu and len(cores) < n:
        sys.exit(f"{len(cores)} core is available; two are needed to measure a second device")
    rounds = 1 if options.quick else ROUNDS
    rows = measured(n, cores, rounds) + rollouts(n, cores, rounds)
    traffic = {}
    for data, fsdp in ((8, 1), (1, 8)):
        name = f"bytes: data {data}, fsdp {fsdp}"
        traffic[name] = sent(data, fsdp)
        rows.append({"row": name, **traffic[name]})
        print(f"{name}: {traffic[name]['bytes_per_step']:,} bytes a step in "
              f"{traffic[name]['collectives_per_step']} collectives, "
              f"parameters {traffic[name]['parameters']:,}")  # fmt: skip
    return {"rows": rows + model(traffic["bytes: data 8, fsdp 1"]), "assumed": GPU}


def measured(n, cores, rounds):
    """Return the median updates a second of every setting, in turns, and efficiencies."""
    from benchmarks.training import GOLDEN
    from ups_jax.config import load

    batch = load(GOLDEN).fit.operator.batch
    settings = {"one device": [{"batch": batch, "cores": cores[:1], "devices": 1}]}
    for kind, total in (("weak", n * batch), ("strong", batch)):
        settings[f"{n} devices, {kind}"] = [{"batch": total, "cores": cores[:n], "devices": n}]
        if cores:
            # Not pinned: on one core, Gloo's thread and the program's wait for each other.
            settings[f"{n} processes, {kind}"] = [
                {"batch": total, "devices": 1, "process": i, "processes": n} for i in range(n)
            ]
    rates = in_turns(settings, rounds)
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    rows = []
    for name, value in medians.items():
        efficiency = value / (medians["one device"] * (n if name.endswith("strong") else 1))
        rows.append({"row": name, "updates_per_s": value, "efficiency": efficiency,
                     "samples": rates[name]})  # fmt: skip
        print(f"{name}: {value:.1f} updates/s, efficiency {efficiency:.2f}")
    return rows


def rollouts(n, cores, rounds):
    """Return the median rollouts a second of every setting, in turns, and efficiencies."""
    settings = {}
    for name in ROLLOUTS:
        one = {"rollout": name, "cores": cores[:1], "devices": 1}
        settings[f"{name}, one device"] = [one]
        if cores:
            settings[f"{name}, one device, its threads"] = [one | {"cores": cores[:n]}]
        settings[f"{name}, {n} devices"] = [one | {"cores": cores[:n], "devices": n}]
    rates, rows = in_turns(settings, rounds), []
    for setting, values in rates.items():
        name, rate = setting.partition(",")[0], float(np.median(values))
        alone = float(np.median(rates[f"{name}, one device"]))
        efficiency = rate / alone / (1 if setting.endswith("one device") else n)
        rows.append({"row": setting, "rollouts_per_s": rate, "efficiency": efficiency,
                     "samples": values})  # fmt: skip
        print(f"{setting}: {rate:.1f} rollouts/s, efficiency {efficiency:.2f}")
    return rows


def in_turns(settings, rounds):
    """Return the rates of each setting's workers in all rounds."""
    rates = {name: [] for name in settings}
    for _ in range(rounds):
        for name, workers in settings.items():
            rates[name].append(in_processes(workers))
    return rates


def in_processes(workers, xla_flags=None):
    """Return the rate of one measurement by one process, or by several that meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    started = []
    for worker in workers:
        order = {**worker, "address": address} if "process" in worker else worker
        flags = f"--xla_force_host_platform_device_count={worker['devices']}"
        env = {**os.environ, "XLA_FLAGS": f"{flags} {xla_flags or ''}"}
        # This process has initialized the GPUs, and would hold their memory.
        env |= {"JAX_PLATFORMS": "cpu"} if xla_flags else {}
        env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        argv = [sys.executable, "-m", "benchmarks.speed.multi_device", json.dumps(order)]
        started.append(subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True, cwd=ROOT))
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit("a worker failed; its message is above")
    return json.loads(outputs[0].splitlines()[-1])


def work(order):
    """Train or roll out a little on the devices of this process, or of all; print the rate."""
    if order.get("cores"):
        os.sched_setaffinity(0, order["cores"])
    if "process" in order:
        jax.distributed.initialize(order["address"], order["processes"], order["process"])
    from dataclasses import replace

    from benchmarks.training import golden, one_phase, train_timed
    from ups_jax.sharding import make_mesh

    fsdp = order.get("fsdp", 1)
    data = None if "process" in order else order["devices"] // fsdp
    mesh = make_mesh(data=data, fsdp=fsdp)
    if "rollout" in order:
        print(json.dumps(rollout_rate(order["rollout"], mesh)))
        return
    _, emulator, params, split, recipe = golden(512)
    recipe = one_phase(
        replace(recipe, batch=order["batch"]), unroll=1, calls=order.get("calls", CALLS),
        steps_per_call=STEPS_PER_CALL,
    )  # fmt: skip
    rates = train_timed(emulator, params, split, jax.random.key(1), recipe, mesh=mesh)[1]
    print(json.dumps(float(np.median(rates[1:] or rates))))


def rollout_rate(name, mesh):
    """Return the P1 rollouts a second of a forecaster of the golden run, warm."""
    from functools import partial

    import ups_jax as ups
    from benchmarks.training import GOLDEN, random_params
    from ups_jax.evaluate.batches import p1_forecast
    from ups_jax.evaluate.timing import milliseconds

    cfg = ups.load_config(GOLDEN)
    emulator = ups.build(cfg)
    key, mesh = jax.random.key(0), None if mesh.size == 1 else mesh
    data = ups.simulate(emulator.pde, key, n=BATCH, steps=cfg.data.steps)
    function = p1_forecast(emulator, name, mesh, **ROLLOUTS[name])
    time = partial(milliseconds, function, random_params(emulator), data, key, batch=BATCH)
    time(mesh=mesh)  # compiles
    return 1e3 / time(mesh=mesh)


def sent(data, fsdp):
    """Return bytes and collectives of an update in the program for data x fsdp devices."""
    import ups_jax as ups
    from benchmarks.training import GOLDEN

    cfg = ups.load_config(GOLDEN)
    emulator = ups.build(cfg)
    with tempfile.TemporaryDirectory() as folder:
        batch = cfg.fit.operator.batch * data * fsdp
        worker = {"batch": batch, "devices": data * fsdp, "fsdp": fsdp, "calls": 1}
        in_processes([worker], f"--xla_dump_to={folder} --xla_dump_hlo_as_text")
        programs = [p.read_text() for p in Path(folder).glob("*after_optimizations.txt")]
    text = max((t for t in programs if re.search(COLLECTIVES, t)), key=len)
    # Updates are the body of a loop; the entry computation runs once a call.
    body = text[: text.index("\nENTRY")]
    shapes = re.findall(rf"= (\([^)]*\)|\S+) (?:{COLLECTIVES})(?:-start)?\(", body)
    kinds = re.findall(rf"= (?:\([^)]*\)|\S+) ({COLLECTIVES})(?:-start)?\(", body)
    params = jax.eval_shape(lambda: ups.init(emulator, jax.random.key(0)))
    return {
        "bytes_per_step": sum(shape_bytes(shape) for shape in shapes),
        "collectives_per_step": len(shapes),
        **{kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "parameters": ups.num_params(params["operator"]),
    }


def shape_bytes(shape):
    """Return the bytes of an HLO shape, or of a tuple of shapes."""
    return sum(
        TYPE_BYTES[kind] * math.prod(int(d) for d in dims.split(",") if d)
        for kind, dims in re.findall(r"(\w+)\[([\d,]*)\]", shape)
        if kind in TYPE_BYTES
    )


def model(traffic):
    """Return the milliseconds of an update on many GPUs, the golden batch on each, no overlap."""
    import ups_jax as ups
    from benchmarks.training import GOLDEN
    from ups_jax.experiment.schedule import recipe_of, training_flops

    cfg = ups.load_config(GOLDEN)
    emulator = ups.build(cfg)
    phases = recipe_of(emulator, cfg, "operator").phases()
    steps = sum(count * unroll for count, unroll in phases)
    flop = training_flops(emulator, cfg, "operator") / steps
    compute = flop / (GPU["TFLOP/s attained"] * 1e12) * 1e3
    print(f"on paper, {flop / 1e9:.1f} GFLOP a step on each GPU, no overlap: {GPU}")
    rows = []
    for n in (8, 64, 512):
        nodes = n // 8
        bandwidth = "GB/s within a node of 8" if nodes == 1 else "GB/s between nodes, each GPU"
        ring = 2 * (n - 1) / n * traffic["bytes_per_step"] / (GPU[bandwidth] * 1e9) * 1e3
        latency = GPU["microseconds a collective"] + GPU[
            "microseconds a doubling of nodes"
        ] * math.log2(nodes)
        latency *= traffic["collectives_per_step"] / 1e3
        total = compute + ring + latency
        rows.append({"row": f"model: {n} GPUs", "gflop_per_step": flop / 1e9, "ms": total,
                     "compute_ms": compute, "send_ms": ring, "latency_ms": latency,
                     "efficiency": compute / total})  # fmt: skip
        print(f"{n} GPUs: {total:.2f} ms a step ({ring:.3f} bandwidth, {latency:.3f} latency), "
              f"efficiency {compute / total:.2f}")  # fmt: skip
    return rows


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
