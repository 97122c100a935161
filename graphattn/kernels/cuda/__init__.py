"""Kernels for GPUs: Triton, flash, cuDNN, memory-efficient and flex attention."""
