"""Reference PDEs in JAX. To add one, write a factory `make(**kw) -> PDE` and a line of PDES."""

from ups_jax.pde import (
    advection,
    apebench,
    burgers,
    decaying_turbulence,
    kolmogorov,
    kuramoto,
    reaction_diffusion,
    semilinear,
)

PDES = {
    "advection": advection.make,
    "apebench": apebench.make,
    "burgers": burgers.make,
    "decaying_turbulence": decaying_turbulence.make,
    "kolmogorov": kolmogorov.make,
    "kuramoto": kuramoto.make,
    "reaction_diffusion": reaction_diffusion.make,
    "semilinear": semilinear.make,
}
