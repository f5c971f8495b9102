"""Rollouts of the operator over a split, from which stages derive their training data."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ups_jax.arrays import as_float32
from ups_jax.emulator import Emulator, predicted, residual_scales, states, step
from ups_jax.evaluate.batches import map_batches, p1_forecast
from ups_jax.sharding import Mesh, map_samples
from ups_jax.types import Array, Key, Params, Trajectories

ROLLOUT_BATCH = 16
"""Trajectories of a device in a batch: independent of the mesh, so that the bits are too."""


class Rollouts:
    """The operator's forecasts of the first trajectories of splits, each of them computed once.

    The stages of a run share one value: a later one takes the first trajectories of an earlier one,
    to the same bits that it computes after a restart.
    """

    def __init__(self, mesh: Mesh | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        """The devices of `mesh` share every batch; `stop()` between batches raises Interrupted."""
        self.mesh, self.stop = mesh, stop
        self.known: list[tuple[Emulator, Trajectories, Params, np.ndarray]] = []

    def __call__(
        self, emulator: Emulator, params: Params, data: Trajectories, n: int
    ) -> np.ndarray:
        """Return the predicted channels after the first frame of n samples: (n, t - 1, *s, c).

        For autoregressive residuals they are steps from true frames.
        """
        used = _used(emulator, params)
        for known_emulator, known_data, known_params, frames in self.known:
            same = known_emulator is emulator and known_data is data and len(frames) >= n
            if same and _equal(known_params, used):
                return frames[:n]
        frames = self._compute(emulator, used, data.take(slice(n)))
        self.known.append((emulator, data, used, frames))
        return frames

    def _compute(self, emulator: Emulator, params: Params, data: Trajectories) -> np.ndarray:
        assert (spec := emulator.diffusion) is not None
        forecast = p1_forecast(emulator, "operator", self.mesh)

        def run(params: Params, u: Array, cond: Array, keys: Key) -> Array:
            if spec.autoregressive:
                return _single_steps(emulator, self.mesh, params, u, cond)
            return forecast(params, u, cond, keys).u

        batch = ROLLOUT_BATCH * (1 if self.mesh is None else self.mesh.size)
        about: Any = dict(mesh=self.mesh, stop=self.stop, name="rollouts of the operator")
        return map_batches(run, params, data, jax.random.key(0), batch=batch, **about)


def rollout_dataset(
    emulator: Emulator,
    params: Params,
    data: Trajectories,
    *,
    num_rollouts: int = 1024,
    rollouts: Rollouts | None = None,
) -> Trajectories:
    """Return forecasts of the first trajectories, and the truth behind them in the channels.

    They are the operator's rollouts or, for autoregressive residuals, steps from true frames.
    """
    subset, c = data.take(slice(num_rollouts)), len(emulator.pde.channels)
    true = np.asarray(as_float32(subset.u))
    frames = true.copy()
    frames[:, 1:, ..., :c] = (rollouts or Rollouts())(emulator, params, data, len(subset))
    both = [np.asarray(states(emulator, jnp.asarray(u))) for u in (frames, true)]
    return replace(subset, u=np.concatenate(both, -1), channels=(), static=(), forcing=())


@partial(jax.jit, static_argnums=(0, 1))
def _single_steps(
    emulator: Emulator, mesh: Mesh | None, params: Params, u: Array, cond: Array
) -> Array:
    """Return the operator's step from every frame but the last: u (b, t, *s, c), cond (b, p)."""

    def share(params: Params, u: Array, cond: Array) -> Array:
        start = states(emulator, u)[:, :-1]
        conds = jnp.broadcast_to(cond[:, None], (*start.shape[:2], cond.shape[1]))
        return predicted(emulator, step(emulator, params, start, conds))

    return map_samples(mesh, share)(params, u, cond)


def _used(emulator: Emulator, params: Params) -> Params:
    """Return what a rollout depends on, on the host: later stages change scales of residuals."""
    scales = residual_scales(emulator)
    stats = {name: x for name, x in params["stats"].items() if name not in scales}
    return jax.device_get({"stats": stats, "operator": params["operator"]})


def _equal(one: Params, other: Params) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))
