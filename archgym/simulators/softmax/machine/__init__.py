"""Kernels on this machine: their C code, the compiler, the processor, timing, and whether results are right."""
