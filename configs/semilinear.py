"""Families of semilinear equations on 160 points, one network for all coefficients in a range."""

from ml_collections import ConfigDict

from ups_jax.config import base

VARIANTS = ("default", "linear", "chaos", "gpu", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: Korteweg-de Vries with hyper-diffusion. `smoke`: the same code in seconds.

    `linear`: the network corrects the exact step of the linear part. `chaos`: Kuramoto-Sivashinsky
    in conservative form, on the attractor. `gpu`: more data, a wider network. Times are counted in
    intervals.
    """
    cfg = base.get_config()
    # Difficulties of APEBench, whose `1d_diff_kdv` has convection -2, gamma3 -14 and gamma4 -9.
    waves = dict(convection=(-2.0, -1.0), gamma3=(-20.0, -7.0), gamma4=(-9.0, -3.0))
    cfg.pde = ConfigDict(dict(name="semilinear", **waves))
    cfg.data.update(cells=(160,), train=400, val=32, test=64, steps=50, eval_steps=100)
    spec = dict(name="resnet", width=48, blocks=2, dilations=(1, 2, 4, 2, 1), zero_mean=True)
    cfg.operator = ConfigDict(spec)
    cfg.fit.operator.update(
        steps=15000, batch=8, lr=3e-3, warmup=500, steps_per_call=100, val_every=3000
    )
    cfg.fit.operator.update(unroll=(1, 2, 3), phase_fractions=(0.6, 0.25, 0.15))
    # The solver made the data on the same points, so its error would be zero.
    cfg.eval.update(forecasters=("persistence", "mean", "operator"), batch=32)
    cfg.eval.horizons = (10.0, 50.0, 100.0)
    if variant == "linear":
        cfg.operator.base = "linear"
    if variant == "chaos":
        # `1d_diff_ks_cons` has convection -1, gamma2 -2 and gamma4 -18.
        growth = dict(convection=(-2.0, -1.0), gamma2=(-2.0, -0.5), gamma4=(-27.0, -12.0))
        cfg.pde = ConfigDict(dict(name="semilinear", **growth, warmup=500))
    if variant == "gpu":
        cfg.data.update(train=4096, val=128, test=256)
        cfg.operator.update(width=96, blocks=3)
        cfg.fit.operator.update(steps=40000, batch=32, warmup=1000, val_every=8000)
        cfg.eval.batch = 128
    if variant == "smoke":
        cfg.pde.points = 64
        cfg.data.update(cells=(64,), train=64, val=8, test=8, steps=20, eval_steps=20)
        cfg.operator.update(width=12, blocks=1, dilations=(1, 2))
        cfg.fit.operator.update(steps=200, warmup=20, steps_per_call=50, val_every=100)
        cfg.fit.operator.update(unroll=(1,), phase_fractions=(1.0,))
        cfg.eval.update(batch=8, num_figures=1, horizons=(10.0, 20.0))
    return cfg
