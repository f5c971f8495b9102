"""Reference physics in pure JAX: a PDE is a file here and a line in this table."""

from ups_jax.pde import advection, burgers

PDES = {"advection": advection.make, "burgers": burgers.make}
