"""Reference physics in pure JAX: a PDE is a file here and a line in this table."""

from ups_jax.pde import advection, burgers, exponax, kuramoto

PDES = {
    "advection": advection.make,
    "apebench_burgers": exponax.make,
    "burgers": burgers.make,
    "kuramoto": kuramoto.make,
}
