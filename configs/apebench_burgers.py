"""APEBench's `1d_diff_burgers` as published: 50 training trajectories, 200 evaluated steps."""

from ml_collections import ConfigDict

from ups_jax.config import base

VARIANTS = ("default", "constrained")


def get_config(variant: str = "default") -> base.Config:
    """`default`: our recipe. `constrained`: APEBench's 10,000 one-step updates, no symmetries.

    The scenario has no validation split: ours has 30 initial conditions of another key. The metric
    is `eval/operator/nrmse_gmean100`. The data need exponax, the extra `pde`.
    """
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="apebench_burgers"))
    cfg.data.update(cells=(160,), train=50, val=30, test=30, steps=50, eval_steps=200)
    cfg.data.update(train_seed=0, val_seed=1, test_seed=773)
    spec = dict(name="resnet", width=32, blocks=2, dilations=(1, 2, 1, 2, 1), zero_mean=True)
    cfg.operator = ConfigDict(spec)
    # Fronts are steep and steps short: a small stencil with many updates is most accurate.
    cfg.fit.operator.update(
        steps=26000, batch=8, lr=4e-3, warmup=500, steps_per_call=100, val_every=2600
    )
    cfg.fit.operator.update(unroll=(1, 2, 3), phase_fractions=(0.6, 0.25, 0.15), ema_decay=0.999)
    # The data come from exponax on the same points, so the solver's error would be zero.
    cfg.eval.update(
        forecasters=("persistence", "mean", "operator"), batch=30, horizons=(0.9375, 1.875)
    )
    if variant == "constrained":
        cfg.fit.operator.update(steps=10000, batch=20, lr=1e-3, warmup=2000, val_every=2000)
        cfg.fit.operator.update(unroll=(1,), phase_fractions=(1.0,), augment=False)
    return cfg
