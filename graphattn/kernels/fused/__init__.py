"""Kernels on torch's own attention on CPU."""
