"""Emulator that a loaded config describes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax import diffusion, rewards, search
from ups_jax.config.from_file import pde_of_config
from ups_jax.emulator import (
    BASE_STEPS,
    TRANSFORMS,
    DiffusionSpec,
    Emulator,
    LearnedStep,
    SearchSpec,
    add_residual,
    base_step,
    init,
    network_boundary,
    network_sizes,
    state_channels,
    step,
)
from ups_jax.forecast import FORECASTERS
from ups_jax.forecast.beam_search import PROPOSALS
from ups_jax.models import DENOISERS, OPERATORS, Network
from ups_jax.pde import PDES
from ups_jax.pde.base import PDE
from ups_jax.pde.coarse import check_coarsening
from ups_jax.registry import lookup
from ups_jax.stages import STAGES
from ups_jax.types import Array

BUILDER_KEYS = ("name", "zero_mean", "galilean", "natural_units", "history", "base")
BUILDER_KEYS += ("coarsen", "substeps")
"""Keys of `cfg.operator` that are no arguments of its factory."""


def build(cfg: Any) -> Emulator:
    """Return the emulator that a loaded config describes, with the networks of its stages.

    Raises ValueError on an unknown name or argument, and on a network that does not fit the PDE.
    """
    pde = build_pde(cfg)
    spec = dict(cfg.operator)
    mirrors = pde.reflection is not None and cfg.operator.history == 1
    if cfg.ensemble.antithetic and not mirrors:
        raise ValueError(
            f"ensemble.antithetic is true, but pde {pde.name!r} has no reflection, or "
            "operator.history is above 1; set it to false"
        )
    if "mean_field" in cfg.eval.forecasters and not pde.steady:
        raise ValueError(
            f"forecaster 'mean_field' needs pairs of a static problem, but pde {pde.name!r} is "
            "none; use 'mean'"
        )
    if "symmetrized" in cfg.eval.forecasters and not mirrors:
        raise ValueError(
            f"forecaster 'symmetrized' needs a reflection, but pde {pde.name!r} has none, or "
            "operator.history is above 1; use 'operator'"
        )
    if "coarse_solver" in cfg.eval.forecasters:
        check_coarsening(pde, cfg.eval.coarsen, key="eval.coarsen")
    if cfg.data.observed_stride is not None and not all(pde.periodic):
        raise ValueError(
            f"data.observed_stride is {cfg.data.observed_stride}, but its interpolation needs "
            f"periodic axes and pde {pde.name!r} has boundary {pde.boundary}; set it to none"
        )
    base = base_step(
        pde,
        spec.get("base", BASE_STEPS[0]),
        coarsen=spec.get("coarsen", 1),
        substeps=spec.get("substeps", 1),
    )
    make_operator, history = lookup(OPERATORS, spec["name"], "operator"), spec.get("history", 1)
    options = {key: value for key, value in spec.items() if key not in BUILDER_KEYS}

    def operator(noise: int = 0) -> Network:
        with _in_section("operator"):
            sizes = network_sizes(pde, base, make_operator, history=history)
            network = make_operator(**sizes, noise=noise, **options)
        return base.attach(network) if isinstance(base, LearnedStep) else network

    network, networks = operator(), _networks(cfg, pde, operator)
    teacher, searching = _diffusion(cfg), _search(cfg, pde)
    with _in_section("operator"):
        emulator = Emulator(
            pde,
            network,
            zero_mean=spec.get("zero_mean", False),
            galilean=spec.get("galilean", False),
            natural_units=spec.get("natural_units", False),
            history=history,
            base=base,
            networks=networks,
            noise_channels=cfg.ensemble.noise_channels,
            diffusion=teacher,
            search=searching,
            spec=cfg.to_dict(),
            missing=cfg.data.missing,
        )
    with _in_section("denoiser"):
        _check_denoiser(emulator)
    return emulator


def build_pde(cfg: Any) -> PDE:
    """Return the PDE that a loaded config describes."""
    lookup(PDES, cfg.pde.name, "pde")
    return pde_of_config(cfg)


@contextmanager
def _in_section(name: str) -> Iterator[None]:
    """Add the section of the config to the errors of its network."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _networks(cfg: Any, pde: PDE, operator: Callable[[int], Network]) -> dict[str, Network]:
    """Return the network of every stage after the operator's, by stage."""

    def stochastic() -> Network:
        network = operator(cfg.ensemble.noise_channels)
        if "noise" not in network.takes:
            raise ValueError(
                f"operator {cfg.operator.name!r} ignores noise, so an ensemble would have no "
                "spread; use another operator, or declare takes={'noise'} in its Network"
            )
        return network

    def denoiser() -> Network:
        spec = dict(cfg.denoiser)
        channels = len(pde.channels)
        make = lookup(DENOISERS, spec.pop("name"), "denoiser")
        features = len(pde.params) + diffusion.EMBEDDING_SIZE
        context = channels + state_channels(pde, cfg.operator.history)
        with _in_section("denoiser"):
            sizes = dict(ndim=pde.ndim, channels=channels, context=context, features=features)
            return make(**sizes, **network_boundary(pde, make), **spec)

    makers = {"operator": lambda: operator(0), "stochastic": stochastic, "denoiser": denoiser}
    networks = {}
    for name in cfg.stages:
        kind = lookup(STAGES, name, "stage").network
        if name != "operator":
            make = lookup(makers, kind, "kind of network") if isinstance(kind, str) else None
            networks[name] = make() if make else kind(pde)  # pyright: ignore[reportCallIssue]
    return networks


def _diffusion(cfg: Any) -> DiffusionSpec | None:
    """Return the diffusion settings, if a stage uses a denoiser."""
    spec = cfg.diffusion
    if not any(STAGES[name].network == "denoiser" for name in cfg.stages):
        return None
    make = lookup(diffusion.NOISE_SCHEDULES, spec.noise, "noise")
    lookup(diffusion.SAMPLERS, spec.sampler, "sampler")
    noise = make(sigma_min=spec.sigma_min, sigma_max=spec.sigma_max)
    lookup(dict.fromkeys(TRANSFORMS), spec.transform, "transform")
    return DiffusionSpec(
        noise,
        spec.sampler,
        spec.steps,
        spec.student_steps,
        spec.autoregressive,
        spec.teacher_steps,
        spec.transform,
    )


def _search(cfg: Any, pde: PDE) -> SearchSpec | None:
    """Return the settings of forecaster `ttc`, if the source of its candidates is trained."""
    spec = cfg.search
    source = lookup(PROPOSALS, spec.source, "search.source")
    if any(stage not in cfg.stages for stage in FORECASTERS[spec.source].stages):
        return None
    if not pde.has("step") and "ttc" not in cfg.eval.forecasters:
        return None
    exponential = cfg.operator.get("base") in ("exponential", "learned")
    if pde.fields != pde.channels or cfg.operator.history > 1 or exponential:
        if "ttc" not in cfg.eval.forecasters:
            return None
        raise ValueError(
            "forecaster 'ttc' has no search with static channels, forcing, operator.history "
            "above 1 or an exponential base step; leave it out of eval.forecasters"
        )
    cost = source.cost(_diffusion(cfg))
    candidates = spec.candidates
    if spec.calls_per_step is not None:
        candidates = search.max_candidates(
            spec.calls_per_step, beams=spec.beams, lookahead=spec.lookahead, cost=cost
        )
    search.calls_per_step(spec.beams, candidates, spec.lookahead, cost=cost)
    search.temperatures(
        spec.temperature_schedule,
        steps=1,
        start=spec.temperature_start,
        end=spec.temperature_end,
    )
    return SearchSpec(
        spec.source,
        spec.beams,
        candidates,
        spec.lookahead,
        spec.discount,
        spec.temperature_schedule,
        spec.temperature_start,
        spec.temperature_end,
        cost,
        rewards.weighted_reward(pde, spec.rewards, spec.weights),
    )


def _check_denoiser(emulator: Emulator) -> None:
    """Trace one denoised step on the PDE's grid, without computing it."""
    if "diffusion" not in emulator.networks:
        return
    pde = emulator.pde

    def once(u: Array, cond: Array) -> Array:
        params = init(emulator, jax.random.key(0))
        u_next = step(emulator, params, u, cond)
        sigma = diffusion.sigma_embedding(u.mean())
        return add_residual(
            emulator, params, u, u_next, cond,
            lambda net, shape: net(jnp.zeros(shape), sigma), model="diffusion",
        )  # fmt: skip

    channels = state_channels(pde, emulator.history)
    u = jax.ShapeDtypeStruct((*pde.points, channels), np.float32)
    jax.eval_shape(once, u, jax.ShapeDtypeStruct((len(pde.params),), np.float32))
