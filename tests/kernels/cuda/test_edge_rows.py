"""The programs as a compiler for a GPU sees them; what they compute stands in test_edges_cuda and test_every_kernel."""

import os
import subprocess
import sys

import pytest
import torch

from graphattn.kernels.cuda.edges_cuda import why_not_triton

pytestmark = pytest.mark.skipif(why_not_triton() is not None, reason=str(why_not_triton()))

# The programs are compiled for a Hopper GPU; then a call on CPU must be refused.
WITHOUT_INTERPRETER = """
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from graphattn import CompleteGraph, attend
from graphattn.kernels.cuda import edge_rows as rows

sizes = dict(
    HEADS=8, GROUP=2, DIM=12, VALUE_DIM=16, EDGE_DIM=3, BIAS_HEADS=8, TANH=True, NORMALIZER="softmax", ACC=tl.float32,
    HEAD_BLOCK=8, DIM_BLOCK=16, VALUE_BLOCK=16, EDGE_BLOCK=4, BLOCK_E=4, IS_SOFTMAX=True, STORES_LSE=True, SLOTS=32, BLOCK=64,
)
half = ("q", "k", "v", "bias", "u", "vector", "edge_weight")
types = {name: "*bf16" for name in half}
types |= {name: "*i32" for name in ("col", "edge_id", "place_of")}
types |= {name: "*i64" for name in ("pieces", "cut_rows", "repeat", "row", "seed")}
types |= {name: "i64" for name in ("threshold", "num_edges", "share")}
types |= {name: "fp64" for name in ("scale", "keep_scale")}
dot = {"vector": None, "edge_weight": None}
programs = [
    (rows.forward_rows, dot), (rows.forward_rows, {"NORMALIZER": "relu"}), (rows.backward_rows, dot),
    (rows.backward_rows, {}), (rows.backward_columns, {}), (rows.backward_parameters, {}), (rows.join_pieces, {}),
]
for program, chosen in programs:
    names = program.arg_names
    constants = {name: value for name, value in {**sizes, **chosen}.items() if name in names}
    kinds = {name: "constexpr" if name in constants else types.get(name, "*fp32") for name in names}
    source = ASTSource(program, kinds, {(names.index(name),): value for name, value in constants.items()})
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
    assert compiled.asm["cubin"]
x = torch.ones(3, 1, 4)
try:
    attend(x, x, x, CompleteGraph(3), kernel="edges_cuda")
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="compiled programs run in the other tests")
def test_without_interpreter_programs_compile_and_cpu_is_refused(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", WITHOUT_INTERPRETER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TRITON_INTERPRET=1 only" in done.stdout
