"""Burgers at Nu = .001 on 256 points and 41 frames: the golden run, and its one-minute taste."""

from ml_collections import ConfigDict

from configs import base

VARIANTS = ("default", "smoke")


def get_config(variant: str = "default") -> base.Config:
    """`default`: the golden run. `smoke`: the whole pipeline within a minute on two cores."""
    cfg = base.get_config()
    cfg.pde = ConfigDict(dict(name="burgers", nu=1e-3, points=256))
    cfg.operator = ConfigDict(dict(name="resnet", width=48, blocks=3, dilations=(1, 2, 4, 8, 2)))
    # Many small updates: on two cores eight windows cost half of sixteen, and teach as much.
    cfg.fit.operator.update(steps=14000, batch=8, warmup=500, chunk=100, val_every=2000)
    # Shocks form in the first frames, and a shock misplaced there stays misplaced.
    cfg.fit.operator.update(unroll=(1, 2), shares=(0.75, 0.25), early=2.0)
    if variant == "smoke":
        cfg.pde.points = 64
        cfg.data.cells = (256,)
        cfg.data.update(train=128, val=32, test=32)
        cfg.operator.update(width=16, blocks=1, dilations=(1, 3))
        cfg.fit.operator.update(steps=400, batch=32, warmup=50, chunk=50, val_every=200)
        cfg.fit.operator.update(unroll=(1, 2), shares=(0.75, 0.25), early=1.0)
        cfg.eval.update(batch=32, examples=1)
    return cfg
