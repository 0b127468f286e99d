"""Kernels on this machine: compiled, checked and timed.

kernels    designs as C code: compiled, run and timed
compiler   a C compiler that works, and the libraries that it made
cpu        instruction sets, processors and caches of this machine
timing     measurements on a machine that is not quiet
checking   results compared with float64
c/         the C sources
"""
