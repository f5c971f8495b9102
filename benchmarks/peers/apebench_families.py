"""APEBench's own training of its scenario `1d_diff_burgers`, for its paper's network families.

Runs in the peers' environment: `.venv-peers/bin/python -m benchmarks apebench_families`.
Published settings, seed 0: 10,000 Adam updates of batch 20 on 50 trajectories of 50 steps, 30 test
trajectories. The error is their mean_nRMSE on each test step, its geometric mean over the first
100. Seconds are the wall time of their training call with compilation; simulation and evaluation
are timed separately. `--only Dil,FNO` measures some families and keeps the other rows.

`--dump arrays.npz` writes that scenario's train (50, 51, 1, 160) and test (30, 201, 1, 160) arrays,
with its coefficients, and trains nothing.
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
SCENARIO, SCORED_STEPS, QUICK_UPDATES = "diff_burgers", 100, 20
PACKAGES = ("jax", "apebench", "exponax", "pdequinox", "equinox", "trainax", "optax")


def add_flags(parser):
    parser.add_argument("--only", help=f"some of {','.join(FAMILIES)}")
    parser.add_argument("--dump", help="write the scenario's arrays to this npz file, and stop")


def run(options):
    scenario = make_scenario(QUICK_UPDATES if options.quick else None)
    if options.dump:
        dump(scenario, options.dump)
        return None
    rows = []
    print(f"{'family':6} {'configuration':18} parameters  train s  GMean100")
    for name in choose_rows(options.only, list(FAMILIES)):
        row = {"row": name, **measure(scenario, FAMILIES[name])}
        rows.append(row)
        print(
            f"{name:6} {row['configuration']:18} {row['parameters']:<11} {row['train_s']:<8.1f} "
            f"{row['gmean100']:.5f}",
            flush=True,
        )
        if options.out:
            rows_so_far = merge_rows(options.out, rows)
            write(options.out, {"rows": rows_so_far, "scenario": SCENARIO}, PACKAGES)
    return {"rows": merge_rows(options.out, rows), "scenario": SCENARIO}


def make_scenario(updates):
    """Return the published scenario, or the same with fewer updates."""
    if not updates:
        return apebench.scenarios.scenario_dict[SCENARIO]()
    config = f"adam;{updates};warmup_cosine;0.0;1e-3;{updates // 5}"
    return apebench.scenarios.scenario_dict[SCENARIO](optim_config=config)


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


def dump(scenario, path):
    """Write the scenario's trajectories; its normalised equation has dt 1 and length 1.

    u_t = linear[2] u_xx - convection (u^2 / 2)_x, with both coefficients from the difficulties
    gamma_2 and delta_1 on n points: linear[2] = gamma_2 / (2 n^2), convection = delta_1 / n, where
    the scale of max |u| in the latter is one.
    """
    points = scenario.num_points
    np.savez(
        path,
        train=np.asarray(scenario.get_train_data()),
        test=np.asarray(scenario.get_test_data()),
        dt=1.0,
        length=1.0,
        gammas=np.asarray(scenario.gammas),
        convection_delta=scenario.convection_delta,
        diffusion=scenario.diffusion_gamma / (2 * points**2),
        convection=-scenario.convection_delta / points,
    )
    print(path)
