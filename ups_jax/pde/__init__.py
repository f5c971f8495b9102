"""Reference PDEs in JAX. To add one, write a factory `make(**kw) -> PDE` and a line of PDES."""

from ups_jax.pde import advection, burgers, exponax, kuramoto

PDES = {
    "advection": advection.make,
    "apebench_burgers": exponax.make,
    "burgers": burgers.make,
    "kuramoto": kuramoto.make,
}
