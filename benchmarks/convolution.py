"""Does our gathered convolution still beat XLA's own inside `scan` on this backend?

Forward and gradient of one hidden layer of the golden operator, repeated in one `lax.scan`; both
convolutions in turn, medians of five, compiled before. Prints a table, writes JSON.
"""

import time
from statistics import median

import jax
import jax.numpy as jnp
from record import write

from ups_jax.models.layers import cpu_conv, native_conv

WIDTH, SITES, BATCH, STEPS, ROUNDS = 64, 128, 8, 20, 5


def program(conv):
    """`STEPS` gradient steps of one layer in a scan."""

    def loss(kernel, x):
        return jnp.mean(conv(x, kernel, 3, 4, 1) ** 2)

    @jax.jit
    def run(kernel, x):
        def body(kernel, _):
            return kernel - 1e-3 * jax.grad(loss)(kernel, x), None

        return jax.lax.scan(body, kernel, None, length=STEPS)[0]

    return run


def main():
    key = jax.random.key(0)
    x = jax.random.normal(key, (BATCH, SITES, WIDTH))
    kernel = jax.random.normal(key, (3, WIDTH, WIDTH)) / (3 * WIDTH) ** 0.5
    runs = {"gathered": program(cpu_conv), "native": program(native_conv)}
    times = {name: [] for name in runs}
    for run in runs.values():
        jax.block_until_ready(run(kernel, x))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.perf_counter()
            jax.block_until_ready(run(kernel, x))
            times[name].append((time.perf_counter() - began) / STEPS * 1e3)
    found = {name: median(values) for name, values in times.items()}
    print(f"{'convolution':12}  ms a step")
    for name, value in found.items():
        print(f"{name:12}  {value:.3f}")
    print(f"native / gathered: {found['native'] / found['gathered']:.2f}")
    write(
        "convolution",
        {
            "ms": found,
            "ratio_native_to_gathered": found["native"] / found["gathered"],
            "shape": dict(width=WIDTH, sites=SITES, batch=BATCH),
        },
    )


if __name__ == "__main__":
    main()
