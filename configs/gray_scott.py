"""Gray-Scott patterns: six pairs of feed and kill rates, as in The Well."""

from ml_collections import ConfigDict

from ups_jax.config import base

VARIANTS = ("default", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: 64 x 64 points. `gpu`: The Well's 128 x 128 on twice the length. `smoke`."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="gray_scott"))
    cfg.data.update(cells=(64, 64), steps=40, train=192, val=24, test=48)
    cfg.operator = ConfigDict(dict(name="resnet", width=48, blocks=2, dilations=(1, 2, 1), patch=2))
    cfg.fit.operator.update(steps=3500, batch=8, lr=2e-3, warmup=200, steps_per_call=10)
    cfg.fit.operator.update(val_every=700, unroll=(1, 2), phase_fractions=(0.7, 0.3))
    # The data come from this solver on the same points, so its error would be zero.
    forecasters = ("persistence", "mean", "operator")
    cfg.eval.update(forecasters=forecasters, batch=8, horizons=(50.0, 200.0, 400.0))
    if variant == "gpu":
        cfg.pde.update(points=(128, 128), length=2.0)
        cfg.data.update(cells=(128, 128), train=960, val=60, test=120)
        cfg.operator.update(width=96, blocks=3)
        cfg.fit.operator.update(steps=20000, batch=32, steps_per_call=50, val_every=4000)
        cfg.eval.batch = 32
    if variant == "smoke":
        cfg.pde.update(points=(16, 16), length=0.25, warmup=2)
        cfg.data.update(cells=(16, 16), steps=20, train=16, val=4, test=4)
        cfg.operator.update(width=8, blocks=1, dilations=(1,), patch=2)
        cfg.fit.operator.update(steps=40, warmup=5, steps_per_call=20, val_every=20)
        cfg.eval.update(batch=4, num_figures=1, horizons=(50.0, 100.0))
    return cfg
