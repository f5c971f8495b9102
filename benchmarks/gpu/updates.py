"""Time, FLOP/s and memory of training updates, of every network, size and precision.

Networks are the operators and the denoiser. Sizes are the golden recipe, `configs/burgers.py:full`
and, for one operator, that with 512 channels and batches of 256: work for which no kernel is too
small. An update is forward, backward and AdamW of one-step windows, in calls of `CALL` updates.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

import ups_jax as ups
from benchmarks.clock import interleaved
from benchmarks.gpu.machine import published_peak
from benchmarks.gpu.pack import Row, Setting, Task, row
from benchmarks.speed.convolution import STEPS, application, descent
from benchmarks.training import one_phase, random_params, updates_program
from ups_jax.data import sample_windows
from ups_jax.experiment.schedule import recipe_of, stage_of
from ups_jax.flops import update_flops
from ups_jax.models import DENOISERS, OPERATORS
from ups_jax.models.layers import gathered_conv, native_conv

Overrides = dict[str, Any]
SIZES: dict[str, tuple[str, Overrides]] = {
    "golden": ("configs/burgers.py", {}),
    "full": ("configs/burgers.py:full", {}),
    "wide": ("configs/burgers.py:full", {"operator.width": 512, "fit.operator.batch": 256}),
}
FULL_SIZES: dict[str, Overrides] = {
    "dilated": {"operator.width": 128},
    "fno": {"operator.width": 128, "operator.modes": 64},
    "transformer": {"operator.width": 256, "operator.patch": 8},
    "unet": {"operator.width": 64, "operator.patch": 4},
    "denoiser resnet": {"denoiser.width": 128, "denoiser.patch": 8},
}
"""Networks of size "full"; elsewhere they have their defaults."""
ORDER = (
    ("full", "bfloat16"), ("full", "tf32"), ("golden", "tf32"), ("full", "float32"),
    ("golden", "float32"), ("golden", "bfloat16"),
)  # fmt: skip
CALL, CALLS = 100, (1, 10)
"""Updates a call of the measurements, and of those that show what the host adds."""
SHARE = 0.4
"""Target: share of the bfloat16 peak by the widest network."""


def step_time(setting: Setting) -> dict[str, Task]:
    """Return the tasks; the largest network and what the host adds come first."""
    first: dict[str, Task] = {}
    for size, matmul in (("full", "bfloat16"), ("wide", "bfloat16"), ("golden", "tf32")):
        first[f"resnet {size} {matmul}"] = partial(update, setting, "resnet", size, matmul)
    for size, matmul in (("full", "bfloat16"), ("golden", "tf32")):
        for count in CALLS:
            name = f"resnet {size} {matmul}, calls of {count}"
            first[name] = partial(update, setting, "resnet", size, matmul, count)
    for size in ("full", "golden", "plane"):
        first[f"convolution {size}"] = partial(convolution, setting, size)
    first["windows"] = partial(windows, setting)
    names = [*OPERATORS, *(f"denoiser {name}" for name in DENOISERS)]
    rest = {
        f"{name} {size} {matmul}": partial(update, setting, name, size, matmul)
        for size, matmul in ORDER
        for name in names
        if matmul != "bfloat16" or "matmul" in signature(factory(name)).parameters
    }
    return {**first, **rest, **({"memory": memory} if not setting.small else {})}


def factory(name: str) -> Any:
    """Return the factory of a network of the part, an operator or a denoiser."""
    denoiser = name.removeprefix("denoiser ")
    return OPERATORS[name] if name == denoiser else DENOISERS[denoiser]


def configured(name: str, size: str, matmul: str, *, small: bool) -> tuple[Any, str]:
    """Return the config with a network at a size and precision, and its stage."""
    path, overrides = ("configs/burgers.py:smoke", {}) if small else SIZES[size]
    section = "denoiser" if name.startswith("denoiser ") else "operator"
    overrides = {**overrides, f"{section}.name": name.removeprefix("denoiser ")}
    if name == "resnet":
        overrides.pop("operator.name")  # naming it would replace the recipe's size by its defaults
    if size == "full" and not small:
        overrides |= FULL_SIZES.get(name, {})
    if "matmul" in signature(factory(name)).parameters:
        overrides[f"{section}.matmul"] = "bfloat16" if matmul == "bfloat16" else "float32"
    stage = "diffusion" if section == "denoiser" else "operator"
    stages = ("operator",) if stage == "operator" else ("operator", "diffusion")
    return ups.load_config(path, {"stages": stages, **overrides}), stage


@contextmanager
def precision(matmul: str) -> Iterator[None]:
    """Multiply float32 at precision "highest", or at the default one, TF32 where there is any."""
    with jax.default_matmul_precision("highest" if matmul == "float32" else "default"):
        yield


def update(
    setting: Setting, name: str, size: str, matmul: str, count: int | None = None
) -> list[Row]:
    """Measure the update of one network; with `count`, only its time in calls of that many."""
    cfg, stage = configured(name, size, matmul, small=setting.small)
    emulator = ups.build(cfg)
    call = min(count or CALL, 4 if setting.small else CALL)
    recipe = one_phase(recipe_of(emulator, cfg, stage), unroll=1, calls=100, steps_per_call=call)
    params = random_params(emulator)
    began = time.perf_counter()
    with precision(matmul):
        compiled, run = updates_program(emulator, params, recipe, stage=stage)
    compile_s = time.perf_counter() - began
    ms = 1e3 * median(timed(run, 1 if setting.small else max(3, 30 // call))) / call
    label = f"{name}, {size}, {matmul}"
    if count:
        return [row(f"{label}, calls of {count}: update", ms, "ms")]
    flop = update_flops(emulator, stage_of(emulator, cfg, stage), batch=recipe.batch, unroll=1)
    rate, shares = flop / ms * 1e-9, []
    if peak := published_peak(jax.devices()[0].device_kind, matmul):
        target = {"min": SHARE} if (size, matmul) == ("wide", "bfloat16") else {}
        shares.append(row(f"{label}: share of the peak", rate / peak, "1", **target))
    if measured := setting.value(f"matmul {matmul}"):
        shares.append(row(f"{label}: share of the measured matmul", rate / measured, "1"))
    return [
        row(f"{label}: update", ms, "ms"),
        row(f"{label}: rate", rate, "TFLOP/s"),
        *shares,
        row(f"{label}: batch", recipe.batch, "windows"),
        row(f"{label}: parameters", ups.num_params(params[stage]), "1"),
        row(f"{label}: memory of the program", program_mib(compiled), "MiB"),
        row(f"{label}: compilation", compile_s, "s"),
    ]


def timed(run: Any, rounds: int) -> list[float]:
    """Return the seconds of calls, after one that warms up."""
    run()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times


def program_mib(compiled: Any) -> float | None:
    """Return the memory of a compiled program by the compiler's analysis, donated inputs once."""
    sizes = compiled.memory_analysis()
    if sizes is None:
        return None
    kept = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return (kept + sizes.temp_size_in_bytes) / 2**20


def convolution(setting: Setting, size: str) -> list[Row]:
    """Compare `lax.conv` with the product of gathered neighbourhoods, in one hidden layer."""
    cfg, _ = configured(
        "resnet", "golden" if size == "plane" else size, "tf32", small=setting.small
    )
    width, ndim = cfg.operator.width, 2 if size == "plane" else 1
    sites = (16, 16) if ndim == 2 and setting.small else (80, 80)
    sites = sites if ndim == 2 else (cfg.pde.points // cfg.operator.patch,)
    x = jax.random.normal(jax.random.key(0), (cfg.fit.operator.batch, *sites, width))
    kernel = jax.random.normal(jax.random.key(0), (3**ndim, width, width))
    kernel /= (3**ndim * width) ** 0.5
    rows = []
    for dtype in ("float32", "bfloat16"):
        args = kernel.astype(dtype), x.astype(dtype)
        for task, make in (("", descent), (", forward", application)):
            label = f"convolution, {size}, {'tf32' if dtype == 'float32' else dtype}{task}"
            programs = {
                "gathered": make(gathered_conv, ndim),
                "native": make(native_conv, ndim),
            }
            rows += compared(label, programs, args, 1 if setting.small else 5)
    return rows


def compared(label: str, programs: dict[str, Any], args: Any, rounds: int) -> list[Row]:
    """Return the time of a layer by both convolutions, and their ratio."""
    turns = {
        name: lambda program=program: jax.block_until_ready(program(*args))
        for name, program in programs.items()
    }
    seconds = interleaved(turns, rounds)
    rows = [row(f"{label}: {name}", 1e6 * s / STEPS, "us") for name, s in seconds.items()]
    ratio = seconds["native"] / seconds["gathered"]
    return [*rows, row(f"{label}: native / gathered", ratio, "1")]


def windows(setting: Setting) -> list[Row]:
    """Measure the windows and symmetries of an update alone: gathers from the data."""
    cfg, _ = configured("resnet", "full", "tf32", small=setting.small)
    emulator = ups.build(cfg)
    pde, batch = emulator.pde, cfg.fit.operator.batch
    u = jnp.ones((256, 41, *pde.points, 1))
    cond = jnp.full((256, len(pde.params)), 1e-3)

    @jax.jit
    def draw(total, u, cond, key):
        def body(total, i):
            k_window, k_augment = jax.random.split(jax.random.fold_in(key, i))
            window, c = sample_windows(k_window, u, cond, batch=batch, length=2)
            for symmetry in pde.symmetries:
                window, c = jax.vmap(symmetry)(jax.random.split(k_augment, batch), window, c)
            return total + window, None

        return jax.lax.scan(body, total, jnp.arange(CALL))[0]

    total = jnp.zeros((batch, 2, *pde.points, 1))
    run = partial(draw, total, u, cond, jax.random.key(2))
    seconds = median(timed(lambda: jax.block_until_ready(run()), 3)) / CALL
    return [row("full: windows and symmetries of an update", 1e3 * seconds, "ms")]


def memory() -> list[Row]:
    """Return the largest memory in use so far."""
    stats = jax.devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return [row("peak memory of the process", peak / 2**20 if peak else None, "MiB")]
