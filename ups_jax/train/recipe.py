"""Training recipe of one stage: length, optimizer, batches, unroll phases."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Self

from ups_jax import optim
from ups_jax.data import add_input_noise, add_short_waves
from ups_jax.registry import lookup
from ups_jax.types import Array, Key

Noise = Callable[[Key, Array, Array], Array]
Phases = tuple[tuple[int, int], ...]
"""(updates, unroll) of each phase."""
FRACTIONS = {1: (1.0,), 2: (0.7, 0.3), 3: (0.6, 0.25, 0.15)}
"""Fractions of the updates by number of phases, where a recipe names none."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one training stage; the fields are the keys of a `fit` section of a config.

    `settings` holds what a stage's own functions take beyond these. Raises ValueError on lengths
    that do not fit together.
    """

    steps: int = 12000
    batch: int = 32
    optimizer: str = "adamw"
    lr: float = 3e-3
    schedule: str = "cosine"
    warmup: int = 500
    weight_decay: float = 1e-5
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    unroll: tuple[int, ...] = (1, 2, 4)
    phase_fractions: tuple[float, ...] | None = None
    start_bias: float = 1.0
    sampling: str = "uniform"
    val_average: str = "mean"
    loss: str = "nrmse"
    loss_floor: float = 0.0
    members: int = 2
    num_rollouts: int = 1024
    match_flops_of: str | None = None
    input_noise: float = 0.0
    damping_noise: float = 0.0
    damping_from: int = 1
    augment: bool = True
    steps_per_call: int = 50
    val_every: int = 1000
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_section(cls, section: Mapping[str, Any]) -> Self:
        """Build a recipe from a `fit.<stage>` section; keys of a stage's own go to `settings`."""
        names = {f.name for f in fields(cls)} - {"settings"}
        known = {key: value for key, value in section.items() if key in names}
        return cls(**known, settings={k: v for k, v in section.items() if k not in names})

    def __post_init__(self) -> None:
        """Check the lengths."""
        for name in ("steps", "batch", "steps_per_call"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("steps", "val_every"):
            value, call = getattr(self, name), self.steps_per_call
            if value % call:
                raise ValueError(
                    f"{name} is {value}; it must be a multiple of steps_per_call ({call})"
                )
        if not 0 <= self.warmup < self.steps:
            raise ValueError(
                f"warmup is {self.warmup}; it must be at least 0 and below steps ({self.steps})"
            )
        for phase, (steps, _) in enumerate(self.phases(), 1):
            if steps <= 0:
                raise ValueError(
                    f"phase {phase} of unroll {self.unroll} has no update; raise steps "
                    f"({self.steps}), lower steps_per_call ({self.steps_per_call}) or drop a phase"
                )

    def __repr__(self) -> str:
        """Return the values that differ from the defaults."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        default = {f.name: f.default for f in fields(self)} | {"settings": {}}
        changed = [f"{k}={v!r}" for k, v in values.items() if v != default[k]]
        return f"Recipe({', '.join(changed)})"

    def phases(self) -> Phases:
        """Return (updates, unroll) of each phase, in whole calls; the last takes the rest."""
        fractions = self.phase_fractions
        if fractions is None:
            count = len(self.unroll)
            fractions = FRACTIONS.get(count, (1 / max(count, 1),) * count)
        if len(fractions) != len(self.unroll) or not self.unroll:
            raise ValueError(
                f"phase_fractions is {fractions}; it needs one number for each of unroll "
                f"{self.unroll}"
            )
        call = self.steps_per_call
        steps = [call * round(fraction * self.steps / call) for fraction in fractions[:-1]]
        return tuple(zip([*steps, self.steps - sum(steps)], self.unroll, strict=True))

    def build_optimizer(self) -> optim.Optimizer:
        """Return the optimizer and its learning-rate schedule."""
        return lookup(optim.OPTIMIZERS, self.optimizer, "optimizer")(
            steps=self.steps,
            lr=self.lr,
            schedule=self.schedule,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
        )

    def noise_schedule(self) -> Callable[[Array | int], Array] | None:
        """Return the input noise of each update: largest at the largest learning rate, or none.

        It falls with the learning rate, so that it does not limit the error at the end.
        """
        if self.input_noise == 0:
            return None
        rate = self.build_optimizer().lr
        return lambda step: self.input_noise / self.lr * rate(step)

    def input_noises(self, history: int, channels: int | None) -> tuple[Noise, ...]:
        """Return the functions (key, window, update) -> window that add the noise of an update.

        They change the first `history` frames, in the first `channels`.
        """
        found: list[Noise] = []
        given: dict[str, Any] = dict(history=history, channels=channels)
        if noise := self.noise_schedule():
            found.append(lambda key, u, step: add_input_noise(key, u, noise(step), **given))
        if self.damping_noise:
            add = partial(add_short_waves, lowest=self.damping_from, **given)
            found.append(lambda key, u, step: add(key, u, self.damping_noise))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return all values by key, those of `settings` among them."""
        names = [f.name for f in fields(self) if f.name != "settings"]
        return {name: getattr(self, name) for name in names} | dict(self.settings)
