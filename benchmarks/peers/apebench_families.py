"""APEBench's own training of its scenario `diff_burgers` (1D), for its paper's network families.

    PYTHONPATH=benchmarks .venv-peers/bin/python benchmarks/peers/apebench_families.py

Published settings, seed 0: 10,000 Adam updates of batch 20 on 50 trajectories of 50 steps, 30 test
trajectories. The error is their mean_nRMSE on each test step, its geometric mean over the first
100. Seconds are the wall time of their training call, compilation included; simulating the data and
judging the network are timed apart. A family that was measured before keeps its row unless it is
named again: `--only Dil,FNO`.

`--dump arrays.npz` writes that scenario's train (50, 51, 1, 160) and test (30, 201, 1, 160) arrays,
with its coefficients, and trains nothing.
"""

import argparse
import json
import sys
import time

import apebench
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from record import RESULTS, write

FAMILIES = {
    "Conv": "Conv;34;10;relu",
    "Res": "Res;26;8;relu",
    "UNet": "UNet;12;2;relu",
    "Dil": "Dil;2;32;2;relu",
    "FNO": "FNO;12;18;4;gelu",
}
"""The paper's one-dimensional configurations, each of about 30,000 parameters."""

SCENARIO, SCORED = "diff_burgers", 100
PACKAGES = ("jax", "apebench", "exponax", "pdequinox", "equinox", "trainax", "optax")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(FAMILIES), help="families, comma separated")
    parser.add_argument("--updates", type=int, help="fewer updates than published: to try it out")
    parser.add_argument("--dump", help="write the scenario's arrays to this npz file, and stop")
    args = parser.parse_args()
    scenario = make_scenario(args.updates)
    if args.dump:
        dump(scenario, args.dump)
        return
    unknown = set(args.only.split(",")) - set(FAMILIES)
    if unknown:
        sys.exit(f"unknown families {sorted(unknown)}; known: {', '.join(FAMILIES)}")
    path = RESULTS / "apebench_families.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() and not args.updates else {}
    print(f"{'family':6} {'configuration':18} parameters  train s  GMean100")
    for name in args.only.split(","):
        rows[name] = measure(scenario, FAMILIES[name])
        row = rows[name]
        print(
            f"{name:6} {row['configuration']:18} {row['parameters']:<11} {row['train_s']:<8.1f} "
            f"{row['gmean100']:.5f}",
            flush=True,
        )
        if not args.updates:
            print(write("apebench_families", {"rows": rows, "scenario": SCENARIO}, PACKAGES))


def make_scenario(updates):
    """The published scenario; with `updates`, the same over fewer updates."""
    if not updates:
        return apebench.scenarios.scenario_dict[SCENARIO]()
    config = f"adam;{updates};warmup_cosine;0.0;1e-3;{updates // 5}"
    return apebench.scenarios.scenario_dict[SCENARIO](optim_config=config)


def measure(scenario, configuration):
    """Train one family as `scenario(...)` does, step by step, so that each step has its seconds."""
    began = time.perf_counter()
    trainer = scenario.get_trainer(train_config="one")
    data_s = time.perf_counter() - began

    def train(seed):
        # As in BaseScenario.run_raw: the same keys, and vmapped over seeds, of which there is one.
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
        "gmean100": float(np.exp(np.mean(np.log(errors[:SCORED])))),
        "errors": [float(f"{e:.4g}") for e in errors],
    }


def dump(scenario, path):
    """Write the scenario's own trajectories; its normalised equation has dt 1 and length 1.

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


if __name__ == "__main__":
    main()
