"""Neural PDE operators, diffusion refinement and physics metrics in JAX."""
