"""APEBench's own networks, trained here by its code."""

from typing import Any


def best_families(record: dict[str, Any] | None) -> dict[str, str]:
    """Return the error, family and seconds of the best of them, for each scenario.

    Rows without the scenario in their name have the initial conditions of another JAX.
    """
    best: dict[str, tuple[float, str]] = {}
    for row in record["rows"] if record else ():
        name, _, family = row["row"].rpartition(" ")
        if name:
            cell = f"{row['gmean100']:.3g} ({family}, {row['train_s']:.0f} s)"
            best[name] = min(best.get(name, (float("inf"), "")), (row["gmean100"], cell))
    return {name: cell for name, (_, cell) in best.items()}
