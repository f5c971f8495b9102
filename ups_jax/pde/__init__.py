"""Reference PDEs in JAX. To add one, write a factory `make(**kw) -> PDE` and a line of PDES."""

from ups_jax.pde import (
    advection,
    burgers,
    decaying_turbulence,
    exponax,
    kolmogorov,
    kuramoto,
    reaction_diffusion,
)

PDES = {
    "advection": advection.make,
    "apebench_burgers": exponax.make,
    "burgers": burgers.make,
    "decaying_turbulence": decaying_turbulence.make,
    "kolmogorov": kolmogorov.make,
    "kuramoto": kuramoto.make,
    "reaction_diffusion": reaction_diffusion.make,
}
