"""Time of an update of the joint network, and of the same network trained on one equation.

Updates as `fit` runs them, one step, on random fields of `configs/universal.py`: with its ten
equations, with one of them, and with APEBench's scenario alone, which has no coefficients.
"""

import ups_jax as ups
from benchmarks.clock import interleaved
from benchmarks.training import one_phase, random_params, updates_program
from ups_jax.experiment.schedule import recipe_of

CONFIG, ALONE = "configs/universal.py", "configs/apebench.py:1d_diff_burgers"
BAR = 1.2
ROUNDS, UPDATES = 7, 20


def run(options):
    variant = ":smoke" if options.quick else ""
    joint = ups.load_config(f"{CONFIG}{variant}")
    one = ups.load_config(
        f"{CONFIG}{variant}", {"pde.equations": ("burgers",), "pde.test_equations": ()}
    )
    alone = ups.load_config(f"{ALONE}{'-64' if options.quick else ''}")
    alone.operator, alone.fit = joint.operator, joint.fit
    programs = {
        "joint": program(joint),
        "one equation": program(one),
        "one equation, no coefficients": program(alone),
    }
    seconds = interleaved(programs, 1 if options.quick else ROUNDS)
    rows = [
        {"row": name, "ms": value / UPDATES * 1e3, "ratio": seconds["joint"] / value}
        for name, value in seconds.items()
    ]
    for row in rows:
        print(f"{row['row']:30} {row['ms']:.2f} ms an update, joint / this {row['ratio']:.2f}")
    return {"rows": rows, "bar": BAR, "met": max(row["ratio"] for row in rows) <= BAR}


def program(cfg):
    """Return the function that runs some updates of a config's operator once."""
    emulator = ups.build(cfg)
    recipe = recipe_of(emulator, cfg, "operator")
    recipe = one_phase(recipe, unroll=1, calls=4, steps_per_call=UPDATES)
    return updates_program(emulator, random_params(emulator), recipe)[1]
