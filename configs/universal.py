"""One network for the ten one-dimensional scenarios of APEBench, identified by coefficients."""

from ml_collections import ConfigDict

from ups_jax.config import base
from ups_jax.pde.mixture import TEN

VARIANTS = ("default", "linear", "linear-only", "blind", "gpu", "smoke")
VARIANTS += ("ml4ps", "ml4ps-linear", "ml4ps-exponential")
VARIANTS += ("ml4ps-fine", "ml4ps-learned", "ml4ps-gpu")
TRAINED = ("kdv", "ks_cons", "fisher", "adv_diff")
"""Families of ML4PS (2025); Burgers is held out, and so is each exact setting of the test."""


def get_config(variant: str = "default") -> base.Config:
    """`default`: 50 trajectories of each scenario, on two cores. `smoke`: the same in seconds.

    The network receives the coefficients by modulation of its layers. `linear`: it also corrects
    the exact step of each equation's linear part; `linear-only`: it has that step in place of the
    coefficients; `blind`: neither, but four frames, which show the equation; forecasts begin after
    them. `gpu`: a wider network, more updates. `ml4ps`: the coarse grid of coefficients of ML4PS
    (2025), tested at APEBench's coefficients and, with no training data, on Burgers;
    `ml4ps-linear`: with the linear base step; `ml4ps-exponential`: with the exponential one, inputs
    from the coefficients of the nonlinear terms alone, and the units of each equation;
    `ml4ps-fine`: these units and the fine grid, on which ML4PS trained its learned networks;
    `ml4ps-learned`: that with an exponential step whose linear part is learned too; `ml4ps-gpu`:
    the fine grid with the wider network and the batch of ML4PS.
    The metric of an equation is `eval/operator/equations/NAME/nrmse_gmean100`. Times are in
    intervals.
    """
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="mixture", equations=TEN))
    # Training and test trajectories are those of APEBench, whose keys these are.
    cfg.data.update(cells=(160,), train=500, val=100, test=300, steps=50, eval_steps=100)
    cfg.data.update(train_seed=0, val_seed=1, test_seed=773)
    # Convolutions cannot know a mean that the equation removes, as Kuramoto-Sivashinsky does; the
    # mean is kept where the coefficients conserve it.
    spec = dict(name="resnet", width=48, blocks=3, dilations=(1, 2, 1, 2, 1), zero_mean=True)
    cfg.operator = ConfigDict(spec)
    cfg.fit.operator.update(
        steps=36000, batch=16, lr=4e-3, warmup=500, steps_per_call=50, val_every=4000
    )
    # Orthogonal updates have a third of AdamW's validation error after 3,000 updates.
    cfg.fit.operator.update(optimizer="muon", input_noise=1e-3)
    cfg.fit.operator.update(unroll=(1, 2, 3), phase_fractions=(0.6, 0.25, 0.15), ema_decay=0.999)
    # The solver made the data on the same points, so its error would be zero.
    cfg.eval.update(forecasters=("persistence", "mean", "operator"), batch=30)
    cfg.eval.horizons = (10.0, 50.0, 100.0)
    if variant in ("linear-only", "blind"):
        cfg.pde.inputs = "none"
    if variant == "blind":
        # The equation shows in the frames before the forecast: four of them, then 100 to forecast.
        cfg.operator.update(zero_mean=False, history=4)
        cfg.data.eval_steps = 103
        cfg.eval.update(protocol="p10", context_frames=4)
    if variant in ("linear", "linear-only", "ml4ps-linear"):
        cfg.operator.base = "linear"
    if variant == "gpu":
        cfg.operator.update(width=128, blocks=4)
        cfg.fit.operator.update(steps=100000, batch=32, val_every=10000, steps_per_call=500)
    if variant.startswith("ml4ps"):
        # Three values of a coefficient do not show how an equation depends on it in between.
        fine = variant in ("ml4ps-fine", "ml4ps-learned", "ml4ps-gpu")
        grid, settings = ("fine", 688) if fine else ("coarse", 72)
        cfg.pde.equations = tuple(f"{name}_{grid}" for name in TRAINED)
        cfg.pde.update(weights="size", test_equations=(*TRAINED, "burgers"))
        # On average, trajectories of each setting of the coefficients; ML4PS has 50 of all.
        cfg.data.update(train=(8 if fine else 50) * settings, val=172 if fine else 144, test=150)
        # Forecasts of Korteweg-de Vries with weak diffusion amplify waves from about 30 on; input
        # noise that has fallen with the learning rate no longer teaches to damp them.
        cfg.fit.operator.update(damping_noise=0.01 if fine else 0.0, damping_from=25)
    if variant in ("ml4ps-exponential", "ml4ps-fine", "ml4ps-learned", "ml4ps-gpu"):
        # In units of its own, an equation's nonlinear coefficients are no longer to be learned.
        cfg.operator.natural_units = True
        cfg.fit.operator.val_average = "gmean"
    if variant in ("ml4ps-exponential", "ml4ps-learned"):
        # The linear coefficients act through the base step alone: so a network meets new equations
        # whose linear part it has not seen with those nonlinear terms.
        cfg.operator.base = variant.removeprefix("ml4ps-")
        cfg.pde.inputs = "nonlinear"
    if variant == "ml4ps-learned":
        # By settings, 7 % of the windows would be of Fisher's equation, the only one with
        # its nonlinear term.
        cfg.pde.weights = "equal"
    if variant == "ml4ps-gpu":
        cfg.operator.update(width=128, blocks=4)
        cfg.fit.operator.update(steps=100000, batch=64, val_every=10000, steps_per_call=500)
    if variant == "smoke":
        cfg.pde.update(equations=("adv_diff", "kdv", "fisher"), points=64)
        cfg.pde.test_equations = ("adv_diff", "kdv", "fisher", "burgers")
        cfg.data.update(cells=(64,), train=48, val=6, test=8, steps=20, eval_steps=20)
        cfg.operator.update(width=12, blocks=1, dilations=(1, 2))
        cfg.fit.operator.update(steps=200, warmup=20, steps_per_call=50, val_every=100)
        cfg.fit.operator.update(unroll=(1,), phase_fractions=(1.0,))
        cfg.eval.update(batch=8, num_figures=1, horizons=(10.0, 20.0))
    return cfg
