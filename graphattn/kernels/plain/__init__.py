"""Kernels of torch operations alone, and attention that can be differentiated at will."""
