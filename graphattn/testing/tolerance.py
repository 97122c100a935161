"""How far results may be from those in float64, absolute and relative, for values of size 1."""

import torch

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 8e-3, torch.bfloat16: 6e-2}
