"""Time of the gathered convolution and of `lax.conv` inside `scan` on this backend.

Forward and gradient of one hidden layer of the golden operator, repeated in one `lax.scan`.
`ups_jax/models/layers.py` chooses by backend; on a CPU native / gathered must stay far above 1.
"""

import jax
import jax.numpy as jnp

from benchmarks.clock import interleaved
from ups_jax.models.layers import gathered_conv, native_conv

SHAPE = {"width": 64, "sites": 128, "batch": 8}
STEPS, ROUNDS = 20, 5


def run(options):
    width = SHAPE["width"]
    x = jax.random.normal(jax.random.key(0), (SHAPE["batch"], SHAPE["sites"], width))
    kernel = jax.random.normal(jax.random.key(0), (3, width, width)) / (3 * width) ** 0.5
    programs = {"gathered": descent(gathered_conv), "native": descent(native_conv)}
    seconds = interleaved(
        {
            name: lambda program=program: jax.block_until_ready(program(kernel, x))
            for name, program in programs.items()
        },
        1 if options.quick else ROUNDS,
    )
    rows = [{"row": name, "ms": value / STEPS * 1e3} for name, value in seconds.items()]
    for row in rows:
        print(f"{row['row']:10} {row['ms']:.3f} ms a step")
    ratio = seconds["native"] / seconds["gathered"]
    print(f"native / gathered: {ratio:.2f}")
    return {"rows": rows, "ratio_native_to_gathered": ratio, "shape": SHAPE}


def descent(conv, ndim=1):
    """Return a program of `STEPS` gradient steps of one layer in a scan."""

    def loss(kernel, x):
        return jnp.mean(conv(x, kernel, 3, 4, ndim) ** 2)

    @jax.jit
    def program(kernel, x):
        def body(kernel, _):
            return kernel - 1e-3 * jax.grad(loss)(kernel, x), None

        return jax.lax.scan(body, kernel, None, length=STEPS)[0]

    return program


def application(conv, ndim=1):
    """Return a program of `STEPS` applications of one layer in a scan, as in a rollout."""

    @jax.jit
    def program(kernel, x):
        def body(x, _):
            return conv(x, kernel, 3, 4, ndim), None

        return jax.lax.scan(body, x, None, length=STEPS)[0]

    return program
