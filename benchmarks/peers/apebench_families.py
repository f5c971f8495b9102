"""APEBench's own training of its scenarios, by default `1d_diff_burgers`, of its paper's networks.

Runs in the peers' environment: `.venv-peers/bin/python -m benchmarks apebench_families`.
Published settings, seed 0, numbers as JAX drew them in 2024: 10,000 Adam updates of batch 20 on 50
trajectories of 50 steps, 30 test trajectories. The error is their mean_nRMSE on each test step, its
geometric mean over the first 100. Seconds are the wall time of their training call with
compilation; simulation and evaluation are timed separately. `--only Dil,FNO` measures some families
and keeps the other rows. `--scenario 1d_diff_adv` takes another scenario; `--points 32` its points.

`--dump arrays.npz` writes the scenario's arrays, train (50, 51, c, *s) and test (30, 201, c, *s),
and trains nothing.
"""

import time

import apebench
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import choose_rows, merge_rows, write

FAMILIES = {
    "Conv": "Conv;34;10;relu",
    "Res": "Res;26;8;relu",
    "UNet": "UNet;12;2;relu",
    "Dil": "Dil;2;32;2;relu",
    "FNO": "FNO;12;18;4;gelu",
}
"""The paper's one-dimensional configurations, each of about 30,000 parameters."""
SCENARIO, SCORED_STEPS, QUICK_UPDATES = "1d_diff_burgers", 100, 20
PACKAGES = ("jax", "apebench", "exponax", "pdequinox", "equinox", "trainax", "optax")


def add_flags(parser):
    parser.add_argument("--only", help=f"some of {','.join(FAMILIES)}")
    parser.add_argument("--scenario", default=SCENARIO, help="such as 1d_diff_kdv, 2d_diff_ks")
    parser.add_argument("--points", type=int, help="points along each axis; the published ones")
    parser.add_argument("--dump", help="write the scenario's arrays to this npz file, and stop")


def run(options):
    # The draws of JAX in 2024, when the numbers were published.
    with jax.threefry_partitionable(False):
        return run_scenario(options)


def run_scenario(options):
    scenario = make_scenario(options)
    if options.dump:
        arrays = dict(train=scenario.get_train_data(), test=scenario.get_test_data())
        np.savez(options.dump, scenario=options.scenario, **arrays)
        print(options.dump)
        return None
    rows = []
    print(f"{'family':6} {'configuration':18} parameters  train s  GMean100")
    for name in choose_rows(options.only, list(FAMILIES)):
        label = name if options.scenario == SCENARIO else f"{options.scenario} {name}"
        row = {"row": label, "scenario": options.scenario, **measure(scenario, FAMILIES[name])}
        rows.append(row)
        print(
            f"{name:6} {row['configuration']:18} {row['parameters']:<11} {row['train_s']:<8.1f} "
            f"{row['gmean100']:.5f}",
            flush=True,
        )
        if options.out:
            write(options.out, {"rows": merge_rows(options.out, rows)}, PACKAGES)
    return {"rows": merge_rows(options.out, rows)}


def make_scenario(options):
    """Return the published scenario, or the same with other points or, for --quick, updates."""
    name, ndim = options.scenario[3:], int(options.scenario[0])
    published = ({"num_spatial_dims": 1} | each for each in apebench.scraper.CURATION_APEBENCH_V1)
    matches = (s for s in published if (s["scenario"], s["num_spatial_dims"]) == (name, ndim))
    settings = next(matches, {"scenario": name, "num_spatial_dims": ndim})
    del settings["scenario"]
    if options.points:
        settings["num_points"] = options.points
    if options.quick:
        config = f"adam;{QUICK_UPDATES};warmup_cosine;0.0;1e-3;{QUICK_UPDATES // 5}"
        settings["optim_config"] = config
    return apebench.scenarios.scenario_dict[name](**settings)


def measure(scenario, configuration):
    """Train one family as `scenario(...)` does, with separate seconds for each step."""
    began = time.perf_counter()
    trainer = scenario.get_trainer(train_config="one")
    data_s = time.perf_counter() - began

    def train(seed):
        # As in BaseScenario.run_raw: the same keys, vmapped over one seed.
        init_key, shuffle_key = jax.random.split(jax.random.PRNGKey(seed), 2)
        stepper = scenario.get_neural_stepper(
            task_config="predict", network_config=configuration, key=init_key
        )
        every = scenario.record_loss_every
        return trainer(stepper, shuffle_key, record_loss_every=every, spawn_tqdm=False)[0]

    began = time.perf_counter()
    trained = eqx.filter_vmap(train)(jnp.arange(1))
    jax.block_until_ready(eqx.filter(trained, eqx.is_array))
    train_s = time.perf_counter() - began
    began = time.perf_counter()
    errors = np.asarray(scenario.perform_tests(trained)["mean_nRMSE"])[0]
    sizes = (x.size for x in jax.tree.leaves(eqx.filter(trained, eqx.is_inexact_array)))
    return {
        "configuration": configuration,
        "parameters": sum(sizes),
        "updates": scenario.num_training_steps,
        "data_s": data_s,
        "train_s": train_s,
        "test_s": time.perf_counter() - began,
        "gmean100": float(np.exp(np.mean(np.log(errors[:SCORED_STEPS])))),
        "errors": [float(f"{e:.4g}") for e in errors],
    }
