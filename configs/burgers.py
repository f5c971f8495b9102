"""Burgers at Nu = .001 on 256 points and 41 frames: the golden run, and its one-minute taste."""

from ml_collections import ConfigDict

from configs import base

VARIANTS = ("default", "hybrid", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: the golden run. `smoke`: the whole pipeline within a minute on two cores.

    `hybrid`: a small network that corrects one interval of our own scheme on half the points.
    """
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="burgers", nu=1e-3, points=256))
    cfg.operator = ConfigDict(dict(name="resnet", width=64, patch=2, blocks=3))
    cfg.operator.dilations = (1, 2, 4, 8, 2)
    # Many small updates: on two cores eight windows cost half of sixteen, and teach as much.
    cfg.fit.operator.update(steps=12000, batch=8, warmup=500, chunk=100, val_every=4000)
    # Shocks form in the first frames, and a shock misplaced there stays misplaced; what errors do
    # to a rollout is learnt from rollouts alone, so most seconds go to unrolled windows.
    cfg.fit.operator.update(unroll=(1, 2, 4), shares=(0.32, 0.39, 0.29), early=2.0)
    if variant == "hybrid":
        # 17 substeps on 128 cells are stable up to |u| = 4, the largest that the law draws.
        spec = dict(name="resnet", width=32, blocks=2, dilations=(1, 2), patch=4)
        cfg.operator = ConfigDict(dict(**spec, base="solver", coarsen=2, substeps=17))
        cfg.fit.operator.update(steps=16000, warmup=300, val_every=2000)
        # It learns one interval in seconds, and what its own errors do to it in minutes.
        cfg.fit.operator.update(unroll=(1, 2, 4), shares=(0.4, 0.35, 0.25))
    if variant == "smoke":
        cfg.pde.points = 64
        cfg.data.cells = (256,)
        cfg.data.update(train=128, val=32, test=32)
        cfg.operator.update(width=16, blocks=1, dilations=(1, 3), patch=1)
        cfg.fit.operator.update(steps=400, batch=32, warmup=50, chunk=50, val_every=200)
        cfg.fit.operator.update(unroll=(1, 2), shares=(0.75, 0.25), early=1.0)
        cfg.eval.update(batch=32, examples=1)
    return cfg
