"""The training loop: calls of several optimizer updates each, on data that live on the device."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import as_float32
from ups_jax.data import DiskFields, sample_windows, window_loader
from ups_jax.evaluate.timing import compile_seconds
from ups_jax.optim import Optimizer
from ups_jax.sharding import Mesh, any_process, device_put, fsdp_shardings, replicate, replicated
from ups_jax.train.recipe import Recipe
from ups_jax.train.sampling import EquationSampling
from ups_jax.train.selection import Progress, Validate, update_best, validate_networks
from ups_jax.train.updates import Augment, TrainState, run_updates
from ups_jax.types import Array, BoundStage, Interrupted, Key, Params, Trajectories


class TrainSnapshot(NamedTuple):
    """A stage in training: its state, the EMA with the best validation error, its progress."""

    state: TrainState
    best: Params
    progress: Progress


class FitResult(NamedTuple):
    """Trained parameters: `best` is the EMA of lowest validation error, `last` the newest."""

    best: Params
    last: Params
    progress: Progress


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a training loop.

    `on_log(step, row)` runs after every call, `on_save(snapshot)` before every compilation, after
    every validation, every `save_every_s` seconds and before an interruption, `on_compile(step)`
    before a compilation. When `stop()` is true, the loop saves and raises Interrupted; of several
    processes all must answer alike. `on_interrupt(snapshot)` runs on a KeyboardInterrupt.
    """

    on_log: Callable[[int, Mapping[str, float]], None] = lambda step, row: None
    on_compile: Callable[[int], None] = lambda step: None
    on_save: Callable[[TrainSnapshot], None] = lambda snapshot: None
    stop: Callable[[], bool] = lambda: False
    save_every_s: float = 20.0
    on_interrupt: Callable[[TrainSnapshot], None] = lambda snapshot: None


NO_HOOKS = Hooks()


def init_state(name: str, params: Params, opt: Optimizer) -> TrainSnapshot:
    """Return the state before the first update; averages are copies, since the state is donated."""
    trained, ema, best = ({name: jax.tree.map(jnp.array, params[name])} for _ in range(3))
    state = TrainState(jnp.zeros((), jnp.int32), trained, ema, opt.chain.init(trained))
    return TrainSnapshot(state, best, Progress())


def init_states(name: str, params: Params, opt: Optimizer) -> TrainSnapshot:
    """Return `init_state` of stacked networks."""
    state, best = jax.vmap(lambda params: init_state(name, params, opt)[:2])(params)
    return TrainSnapshot(state, best, Progress())


def fit(
    stage: BoundStage,
    params: Params,
    data: Trajectories,
    key: Key,
    recipe: Recipe,
    *,
    augment: Sequence[Augment] = (),
    lr_factors: Array | None = None,
    validate: Validate | None = None,
    sampling: EquationSampling | None = None,
    mesh: Mesh | None = None,
    hooks: Hooks = NO_HOOKS,
    resume: TrainSnapshot | None = None,
) -> FitResult:
    """Train the entry `stage.name` of `params` through the phases of a recipe.

    A row of keys (m,) trains m networks side by side: every array of `params` and of the result
    has that leading axis, and the log holds means over networks, with `<name>_std`. `lr_factors`
    (m,) multiply the learning rate of each; networks that diverge are then left out of the log.
    The devices of a `mesh` share every batch, and over its axis `fsdp` the parameters. `validate`
    selects the EMA of each network; without it the last one is returned. It records errors in
    `sampling`, by which the next windows are drawn. Raises FloatingPointError, after logging and
    saving, on a loss that is not finite, Interrupted, and ValueError on a sampling of windows that
    the host draws.
    """
    loop = _Loop(
        stage, params, data, key, recipe, augment, lr_factors, validate, sampling, mesh, hooks
    )
    loop.begin(resume)
    try:
        return loop.run()
    except KeyboardInterrupt:
        hooks.on_interrupt(loop.snapshot())
        raise


class _Loop:
    """One training run: what is fixed, the state, and the compiled call of the current phase."""

    def __init__(
        self, stage, params, data, key, recipe, augment, lr_factors, validate, sampling, mesh, hooks
    ) -> None:
        self.stage, self.recipe, self.hooks, self.mesh = stage, recipe, hooks, mesh
        self.data, self.augment = data, tuple(augment)
        self.validate, self.sampling = validate, sampling
        self.init_params, self.networks = params, key.shape
        frozen = {name: value for name, value in params.items() if name != stage.name}
        # Windows are read by the host from a disk, and by each process of several for itself.
        self.host_windows = isinstance(data.u, DiskFields) or (
            mesh is not None and mesh.is_multi_process
        )
        if self.host_windows and sampling:
            raise ValueError(
                "sampling is 'validation', but the windows are drawn on the host; use 'uniform', "
                "or one process and data.stream=false"
            )
        fields = () if self.host_windows else (as_float32(data.u), as_float32(data.cond))
        factors = () if lr_factors is None else (lr_factors,)
        self.fields, self.frozen, self.key, self.factors = replicate(
            mesh, (fields, frozen, key, factors)
        )
        self.opt = recipe.build_optimizer()
        self.phases = recipe.phases()
        self.ends = [int(end) for end in np.cumsum([steps for steps, _ in self.phases])]
        self.saved_at, self.saved_step = time.monotonic(), -1
        self.call, self.loader, self.unroll, self.places = None, None, 0, None

    def begin(self, resume: TrainSnapshot | None) -> None:
        begin = init_states if self.networks else init_state
        state, best, self.progress = resume or begin(self.stage.name, self.init_params, self.opt)
        if self.mesh is not None:
            self.places = fsdp_shardings(self.mesh, state, lead=len(self.networks))
            state, best = device_put((state, best), (self.places, self.places.ema))
        self.state, self.best = state, best
        self.weigh()
        self.step = int(np.ravel(state.step)[0])

    def weigh(self) -> None:
        """Draw the next windows by the equations' last validation errors."""
        if self.sampling:
            cumulative = replicate(self.mesh, self.sampling.cumulative(self.progress.equations))
            self.fields = (*self.fields[:2], cumulative)

    def run(self) -> FitResult:
        if self.progress.pending is not None:
            self.finish_call(dict(self.progress.pending))
        while self.step < self.ends[-1]:
            if self.hooks.stop():
                self.interrupt()
            phase = int(np.searchsorted(self.ends, self.step, side="right"))
            if self.phases[phase][1] != self.unroll:
                self.compile(self.phases[phase][1])
            self.finish_call(self.advance())
        if self.loader:
            self.loader.close()
        if self.validate and max(self.progress.best_step) < 0:
            raise FloatingPointError(
                f"{self.stage.name}: val_{self.stage.validate_by} was never finite, so nothing can "
                f"be selected; lower fit.{self.stage.name}.lr, or check the validation split"
            )
        selected = {**self.frozen, **(self.best if self.validate else self.state.ema)}
        return FitResult(selected, {**self.frozen, **self.state.params}, self.progress)

    def compile(self, unroll: int) -> None:
        """Compile the call of a phase, after a save: a compilation cannot be interrupted."""
        if self.saved_step != self.step:
            self.save()
        self.hooks.on_compile(self.step)
        began, self.unroll = time.monotonic(), unroll
        recipe, many = self.recipe, bool(self.networks)
        windows: dict[str, Any] = dict(
            batch=recipe.batch, length=unroll + 1, start_bias=recipe.start_bias,
            history=self.stage.history,
        )  # fmt: skip
        on_device = partial(sample_windows, **windows, lengths=self.data.lengths)
        draw = None if self.host_windows else on_device
        run = partial(
            run_updates, self.stage.loss, self.opt, self.augment, recipe.steps_per_call, draw,
            recipe.ema_decay, self.mesh, fill=self.stage.fill,
            noises=recipe.input_noises(self.stage.history, self.stage.predicted),
        )  # fmt: skip
        fields = 0 if self.host_windows else None
        axes = (0, 0, fields, 0, *(0 for _ in self.factors))
        run = jax.vmap(run, in_axes=axes) if many else run
        if self.host_windows:
            self.loader = window_loader(
                self.loader, self.data, self.key,
                steps_per_call=recipe.steps_per_call, mesh=self.mesh, **windows,
            )  # fmt: skip
            self.fields = self.loader(self.step)
        out: Any = self.mesh and {"out_shardings": (self.places, replicated(self.mesh))}
        args = (self.state, self.frozen, self.fields, self.key, *self.factors)
        self.call = jax.jit(run, donate_argnums=0, **(out or {})).lower(*args).compile()
        self.add_time("compile_s", time.monotonic() - began)

    def advance(self) -> dict[str, float]:
        """Run one call and return its row of the log."""
        assert self.call is not None
        began = time.monotonic()
        fields = self.loader(self.step) if self.loader else self.fields
        self.state, means = self.call(self.state, self.frozen, fields, self.key, *self.factors)
        row: dict[str, float] = {}
        for name, values in jax.device_get(means).items():
            row |= _row_entries(name, values, finite_only=bool(self.factors))
        seconds = time.monotonic() - began
        self.add_time("train_s", seconds)
        self.step += self.recipe.steps_per_call
        speed = self.recipe.steps_per_call / seconds
        return {**row, "unroll": self.unroll, "steps_per_s": speed}

    def finish_call(self, row: dict[str, float]) -> None:
        """Validate if that is due, then log the row and save."""
        every = self.recipe.val_every
        due = self.step == self.ends[-1] or bool(every) and self.step % every == 0
        if due and self.validate:
            try:
                values = self.validation_errors(self.validate)
            except Interrupted:
                self.progress = self.progress._replace(pending=row)
                self.interrupt()
            name = f"val_{self.stage.validate_by}"
            row = {**row, **_row_entries(name, values, finite_only=bool(self.factors))}
            self.best, self.progress = update_best(
                self.best, self.state.ema, self.progress, values, self.step
            )
            if self.sampling:
                self.progress = self.progress._replace(equations=self.sampling.take())
                self.weigh()
        self.progress = self.progress._replace(pending=None)
        self.hooks.on_log(self.step, row)
        if not np.isfinite(row["loss"]):
            self.save()
            name, first = self.stage.name, self.step - self.recipe.steps_per_call
            raise FloatingPointError(
                f"{name}: loss is {row['loss']} within steps [{first}, {self.step}]; "
                f"lower fit.{name}.lr"
            )
        elapsed = time.monotonic() - self.saved_at
        if due or any_process(self.mesh, elapsed > self.hooks.save_every_s):
            self.save()

    def validation_errors(self, validate: Validate) -> np.ndarray:
        """Return the validation error of every network, in the shape of the keys."""
        params, began = {**self.frozen, **self.state.ema}, time.monotonic()
        with compile_seconds() as compiling:
            errors = validate_networks(validate, params, self.networks)
        self.add_time("compile_s", sum(compiling))
        self.add_time("validation_s", time.monotonic() - began - sum(compiling))
        return errors

    def snapshot(self) -> TrainSnapshot:
        return TrainSnapshot(self.state, self.best, self.progress)

    def save(self) -> None:
        self.hooks.on_save(self.snapshot())
        self.saved_at, self.saved_step = time.monotonic(), self.step

    def interrupt(self) -> NoReturn:
        self.save()
        raise Interrupted(f"{self.stage.name}, step {self.step}")

    def add_time(self, name: str, seconds: float) -> None:
        total = getattr(self.progress, name) + seconds
        self.progress = self.progress._replace(**{name: total})


def _row_entries(name: str, values: np.ndarray, *, finite_only: bool) -> dict[str, float]:
    """Return a row's entries of one quantity: its value, or mean and deviation over networks.

    `finite_only` leaves out networks whose value is not finite, unless all are.
    """
    if not np.ndim(values):
        return {name: float(values)}
    finite = np.isfinite(values)
    values = values[finite] if finite_only and finite.any() else values
    row = {name: float(np.mean(values))}
    if name != "lr":
        row[f"{name}_std"] = float(np.std(values, ddof=min(1, values.size - 1)))
    return row
