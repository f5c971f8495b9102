"""The recipe that configs of two-dimensional fields share."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from ups_jax.config.base import Config


def set_recipe(
    cfg: Config,
    variant: str,
    *,
    dilations: Sequence[int] = (1, 2, 1),
    steps: int = 3500,
    batch: int = 8,
) -> None:
    """Set network, updates and batches of a variant; `gpu` is wider, `smoke` runs in seconds.

    Call it after the sizes of the data and the batch of the evaluation, which `smoke` replaces.
    """
    cfg.operator = ConfigDict(dict(name="resnet", width=48, blocks=2, dilations=dilations, patch=2))
    update = cfg.fit.operator.update
    update(steps=steps, batch=batch, lr=2e-3, warmup=200, steps_per_call=10, val_every=steps // 5)
    # Orthogonal updates have three quarters of AdamW's validation error after 300 updates.
    update(unroll=(1, 2), phase_fractions=(0.7, 0.3), optimizer="muon")
    if variant == "gpu":
        cfg.operator.width = 96
        update(steps=20000, batch=32, steps_per_call=50, val_every=4000)
        cfg.eval.batch = 32
    if variant == "smoke":
        cfg.data.update(steps=20, train=16, val=4, test=4)
        cfg.operator.update(width=8, blocks=1, dilations=(1,))
        update(steps=40, warmup=5, steps_per_call=20, val_every=20)
        update(unroll=(1,), phase_fractions=(1.0,))  # one program
        cfg.eval.update(batch=4, num_figures=1)
