"""Tiers of tests; and where there is no GPU, Triton runs its programs in Python, on CPU."""

import os
from importlib.util import find_spec

# Workers of pytest-xdist share the cores: threads of one would wait for those of another, milliseconds at each barrier.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

import torch

pytest_plugins = ["tests.tiers"]
HAS_TRITON = find_spec("triton") is not None
# What cannot be imported has no doctests.
collect_ignore = [] if HAS_TRITON else [f"graphattn/kernels/cuda/edge_{name}.py" for name in ("pieces", "rows")]
if find_spec("huggingface_hub") is None or find_spec("safetensors") is None:
    collect_ignore.append("graphattn/hub")


def interpret_triton() -> None:
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    from triton.runtime import interpreter

    patch_tensor = interpreter._patch_lang_tensor

    def patch_tensor_and_index(tensor, scope):
        # Scalars are arrays of one number in Triton 3.6; since NumPy 2.4 `int` takes 0-dimensional arrays only.
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch_tensor_and_index


if HAS_TRITON and not torch.cuda.is_available():
    interpret_triton()
