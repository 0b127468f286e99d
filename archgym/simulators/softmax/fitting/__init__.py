"""The cost model fitted to a machine: kernels sampled and measured, parameters fitted, errors on designs left out."""
