"""Reference PDEs in JAX. To add one, write a factory `make(**kw) -> PDE` and a line of PDES."""

from ups_jax.pde import (
    advection,
    apebench,
    burgers,
    burgers2d,
    darcy,
    data,
    decaying_turbulence,
    gray_scott,
    kolmogorov,
    kuramoto,
    kuramoto2d,
    mixture,
    reaction_diffusion,
    semilinear,
    shallow_water,
)

PDES = {
    "advection": advection.make,
    "apebench": apebench.make,
    "burgers": burgers.make,
    "burgers2d": burgers2d.make,
    "darcy": darcy.make,
    "data": data.make,
    "decaying_turbulence": decaying_turbulence.make,
    "gray_scott": gray_scott.make,
    "kolmogorov": kolmogorov.make,
    "kuramoto": kuramoto.make,
    "kuramoto2d": kuramoto2d.make,
    "mixture": mixture.make,
    "reaction_diffusion": reaction_diffusion.make,
    "semilinear": semilinear.make,
    "shallow_water": shallow_water.make,
}
