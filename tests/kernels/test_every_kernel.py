"""Every graph x every kernel x every option, forward and backward, against attention by plain loops."""

from itertools import product

import pytest
import torch

from graphattn import attend, attention_weights
from graphattn.kernels.choose import KERNELS
from graphattn.nn import Additive
from graphattn.testing.check import why_not
from graphattn.testing.layouts import LAYOUTS
from graphattn.testing.problems import CASES, DIM, EDGE_DIM, HEADS, OPTIONS, arguments_of, expected, problem
from graphattn.testing.tolerance import TOLERANCE

KERNEL_NAMES = [kernel.name for kernel in KERNELS]
BY_NAME = {kernel.name: kernel for kernel in KERNELS}


def device_of(kernel):
    """Kernels for CUDA run these tests on a GPU where there is one."""
    return "cuda" if torch.cuda.is_available() and (BY_NAME[kernel].devices or ("cpu",))[0] == "cuda" else "cpu"


def is_slow(kernel):
    """What runs only by name, as loops for GPUs without one, takes half a second or more for each case."""
    return device_of(kernel) in BY_NAME[kernel].only_by_name


def is_quick(name, option, kernel, dtype=torch.float64):
    """Of what is slow every graph and every option, but not every pair."""
    if not is_slow(kernel):
        return True
    return name in ("edge_list_repeated", "zero_edges") or (option == "plain" and dtype == torch.float64)


def run(name, option, kernel, dtype):
    leaves, wanted = problem(name, option)
    device = device_of(kernel)
    leaves = {k: v.to(device, dtype).requires_grad_() for k, v in leaves.items()}
    result = attend(graph=CASES[name][0].to(device), kernel=kernel, **arguments_of(leaves, wanted))
    return leaves, [result] if isinstance(result, torch.Tensor) else list(result)


def refuses(kernel, name, option="plain", dtype=torch.float64):
    return why_not(BY_NAME[kernel], name, option, dtype, device_of(kernel)) is not None


def widest_dtype(kernel):
    """float64 where a kernel has it, else float32."""
    dtypes = BY_NAME[kernel].dtypes
    return torch.float64 if dtypes is None or torch.float64 in dtypes else torch.float32


def runs(name, option, kernel, dtype=None):
    """Refused cases are no tests: `test_no_case_is_lost` counts the others."""
    dtype = dtype or widest_dtype(kernel)
    return is_quick(name, option, kernel, dtype) and not refuses(kernel, name, option, dtype)


def close(actual, wanted, dtype):
    torch.testing.assert_close(
        actual.double().cpu(), wanted.double().cpu(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


RUN = [case for case in product(CASES, OPTIONS, KERNEL_NAMES) if runs(*case)]


@pytest.mark.parametrize("name, option, kernel", RUN)
def test_equals_loops(name, option, kernel):
    check_against_loops(name, option, kernel, widest_dtype(kernel))


# How many pairs of a graph and an option each kernel runs on a machine without a GPU.
PAIRS = {
    "sdpa": 36, "banded_cpu": 75, "banded_torch": 45, "grid_cpu": 9, "grid": 54, "dense": 18, "edges_cpu": 1008,
    "edges_torch": 1440, "reference": 1440,
}  # fmt: skip


@pytest.mark.parametrize("kernel", PAIRS)
def test_no_case_is_lost(kernel):
    assert sum(case[2] == kernel for case in RUN) == PAIRS[kernel]


IN_LOW_PRECISION = (
    ["causal_ragged", "band_ragged", "edge_list_repeated", "edge_list_star", "grid_2d_uneven", "zero_keys"],
    ["plain", "edges", "relu", "cosine", "gaussian", "entmax15"],
    KERNEL_NAMES,
    [torch.float32, torch.bfloat16, torch.float16],
)
HALVES_IN_ANY_LAYOUT = product(
    ["complete_rectangular", "band_ragged", "edge_list_repeated", "edge_list_star"],
    ["plain", "edges", "additive"],
    ["edges_cpu", "banded_cpu"],  # which read and write halves as they are
    [torch.bfloat16, torch.float16],
)


@pytest.mark.parametrize("name, option, kernel, dtype", [case for case in product(*IN_LOW_PRECISION) if runs(*case)])
def test_equals_loops_in_low_precision(name, option, kernel, dtype):
    check_against_loops(name, option, kernel, dtype)


def check_against_loops(name, option, kernel, dtype):
    outputs, cotangents, gradients, _ = expected(name, option)
    leaves, results = run(name, option, kernel, dtype)
    for actual, wanted in zip(results, outputs, strict=True):
        assert actual.dtype == dtype
        close(actual, wanted, dtype)
    cotangents = [g.to(device_of(kernel), dtype) for g in cotangents]
    found = torch.autograd.grad(results, list(leaves.values()), cotangents)
    for actual, wanted in zip(found, gradients.values(), strict=True):
        scale = max(1.0, wanted.abs().max().item()) if wanted.numel() else 1.0
        close(actual / scale, wanted / scale, dtype)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", CASES)
def test_chosen_kernels_equal_loops(name, option):
    """Without a name, so that unions and mixed batches run in parts."""
    check_against_loops(name, option, None, torch.float64)


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option not in ("scale", "head_bias", "edge_values")]
)
@pytest.mark.parametrize("name", CASES)
def test_weights_equal_loops(name, option):
    leaves, wanted = problem(name, option)
    arguments = arguments_of({k: v for k, v in leaves.items() if k != "value"}, wanted)
    close(attention_weights(graph=CASES[name][0], **arguments), expected(name, option)[3], torch.float64)


IN_ANY_LAYOUT = product(
    ["complete_rectangular", "causal_ragged", "band_uneven", "band_ragged", "grid_2d_uneven", "edge_list_repeated",
     "edge_list_star", "union_three"],
    ["plain", "head_bias", "edges", "relu", "additive", "sink", "gaussian", "top_k"],
    KERNEL_NAMES,
)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name, option, kernel", [
    case for case in IN_ANY_LAYOUT if runs(*case) and (not is_slow(case[2]) or case[1] in ("plain", "edges", "additive"))
])  # fmt: skip
def test_memory_may_lie_in_any_way(name, option, kernel, layout):
    """Arguments and incoming gradients of any strides give what the same numbers side by side give."""
    check_layout(name, option, kernel, layout, widest_dtype(kernel))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name, option, kernel, dtype", [case for case in HALVES_IN_ANY_LAYOUT if runs(*case)])
def test_memory_of_halves_may_lie_in_any_way(name, option, kernel, dtype, layout):
    check_layout(name, option, kernel, layout, dtype)


def check_layout(name, option, kernel, layout, dtype):
    leaves, wanted = problem(name, option)
    device = device_of(kernel)
    laid_out = {k: LAYOUTS[layout](v.to(device, dtype)) for k, v in leaves.items()}
    cotangents = [LAYOUTS[layout](g.to(device, dtype)) for g in expected(name, option)[1]]
    found = []
    for arrange in (torch.Tensor.detach, lambda x: x.clone(memory_format=torch.contiguous_format)):
        given = {k: arrange(v).requires_grad_() for k, v in laid_out.items()}
        out = attend(graph=CASES[name][0].to(device), kernel=kernel, **arguments_of(given, wanted))
        outputs = [out] if isinstance(out, torch.Tensor) else list(out)
        gradients = torch.autograd.grad(outputs, list(given.values()), [arrange(g) for g in cotangents])
        found.append([*outputs, *gradients])
    for actual, wanted in zip(*found, strict=True):
        close(actual, wanted, dtype)


@pytest.mark.parametrize("reduce", [torch.sum, torch.mean, lambda x: x.square().mean()], ids=["sum", "mean", "squares"])
@pytest.mark.parametrize("name, option, kernel", [
    case for case in product(CASES, ["plain", "edges", "additive"], KERNEL_NAMES)
    if runs(*case) and (not is_slow(case[2]) or case[0] in ("causal_ragged", "grid_2d_uneven", "edge_list_repeated", "zero_edges"))
])  # fmt: skip
def test_losses_of_users(name, option, kernel, reduce):
    """`.sum()` and `.mean()` send back one number for all places, without memory of its own for each."""
    leaves, wanted = problem(name, option)
    device, dtype = device_of(kernel), widest_dtype(kernel)
    found = []
    for send in (reduce, lambda x: (x * torch.autograd.grad(reduce(x), x)[0].contiguous().detach()).sum()):
        given = {k: v.to(device, dtype, copy=True).requires_grad_() for k, v in leaves.items()}
        out = attend(graph=CASES[name][0].to(device), kernel=kernel, **arguments_of(given, wanted))
        loss = send(out if isinstance(out, torch.Tensor) else out[0])
        found.append(torch.autograd.grad(loss, list(given.values()), allow_unused=True, materialize_grads=True))
    for actual, wanted in zip(*found, strict=True):
        close(actual, wanted, dtype)


def function_of_leaves(name, option, kernel):
    leaves, wanted = problem(name, option)
    names, graph = list(leaves), CASES[name][0].to(device_of(kernel))

    def function(*values):
        return attend(graph=graph, kernel=kernel, **arguments_of(dict(zip(names, values)), wanted))

    return function, [leaves[k].to(device_of(kernel), copy=True).requires_grad_() for k in names]


@pytest.mark.parametrize("name, kernel", [
    (name, kernel) for name, kernel in product(CASES, KERNEL_NAMES)
    if is_quick(name, "", kernel) and runs(name, "plain", kernel, torch.float64)
])  # fmt: skip
def test_gradcheck(name, kernel):
    assert torch.autograd.gradcheck(*function_of_leaves(name, "plain", kernel), fast_mode=True)


TWICE = product(
    ["causal_ragged", "edge_list_repeated", "band_uneven", "grid_2d", "zero_edges", "complete_rectangular"],
    ["plain", "edges", "sigmoid", "additive", "sink", "cosine", "gaussian", "sparsemax", "entmax15", "top_k"],
    [name for name in KERNEL_NAMES if widest_dtype(name) == torch.float64 and device_of(name) == "cpu"],
)


@pytest.mark.parametrize("name, option, kernel", [case for case in TWICE if runs(*case)])
def test_gradgradcheck(name, option, kernel):
    function, leaves = function_of_leaves(name, option, kernel)
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("option", ["plain", "edges", "sigmoid", "sparsemax"])
@pytest.mark.parametrize("name", ["edge_list_repeated", "edge_list_star", "grid_2d_uneven", "batch_mixed"])
def test_dropout_is_the_same_in_every_kernel(name, option):
    results = []
    for kernel in KERNEL_NAMES:
        if not BY_NAME[kernel].takes_dropout or device_of(kernel) != "cpu" or not runs(name, option, kernel):
            continue
        leaves, wanted = problem(name, option)
        leaves = {k: v.clone().requires_grad_() for k, v in leaves.items()}
        torch.manual_seed(3)
        out = attend(graph=CASES[name][0], kernel=kernel, dropout=0.4, **arguments_of(leaves, wanted))
        out = out if isinstance(out, torch.Tensor) else out[0]
        cotangent = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)
        results.append([out, *torch.autograd.grad(out, list(leaves.values()), cotangent)])
    for other in results[1:]:
        for actual, wanted in zip(other, results[0], strict=True):
            close(actual, wanted, torch.float64)
    assert not torch.equal(results[0][0], expected(name, option)[0][0])


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
@pytest.mark.parametrize("kernel", ["edges_cpu", "edges_torch"])
@pytest.mark.parametrize("name", ["edge_list", "edge_list_repeated", "grid_2d_uneven", "batch_mixed", "zero_edges"])
def test_additive_score_with_edges_equals_reference(name, kernel, activation):
    leaves, _ = problem(name, "edge_values")
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(HEADS, DIM, generator=generator, dtype=torch.float64)
    weight = torch.randn(HEADS, DIM, EDGE_DIM, generator=generator, dtype=torch.float64)
    results = []
    for run_by in ("reference", kernel):
        copies = {k: v.clone().requires_grad_() for k, v in {**leaves, "vector": vector, "weight": weight}.items()}
        arguments = dict(copies)
        score = Additive(arguments.pop("vector"), arguments.pop("weight"), activation)
        outputs = attend(graph=CASES[name][0], score=score, kernel=run_by, **arguments)
        cotangents = [torch.linspace(-1, 1, x.numel(), dtype=torch.float64).view_as(x) for x in outputs]
        results.append([*outputs, *torch.autograd.grad(outputs, list(copies.values()), cotangents)])
    for actual, wanted in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-12, atol=1e-11)


# Which kernel can run which graph: a refusal that spreads shows here.
FUSED = {
    "complete", "complete_rectangular", "complete_ragged", "complete_ragged_rectangular", "causal", "causal_ragged",
    "transposed_rectangular", "zero_nodes", "zero_keys", "zero_queries", "single_node",
    "grid_single_pixel",
}  # fmt: skip
BANDS = {
    "causal", "causal_ragged", "band_one_step_beyond_causal", "band_uneven", "band_diagonal", "band_dilated",
    "band_dilated_offset_rectangular",
    "band_lower_right_causal", "band_negative_offset_empty_rows", "band_far_offset", "band_ragged",
    "band_ragged_lower_right", "grid_1d", "grid_side_of_one", "transposed_band",
}  # fmt: skip

GRIDS = {
    "grid_2d", "grid_2d_uneven", "grid_3d", "grid_dilated", "grid_strided", "grid_strided_key_sides_dilated",
    "grid_shift", "grid_shift_dilated", "grid_ragged", "grid_ragged_shift", "grid_causal_axis", "grid_borders_dilated",
    "grid_groups", "grid_groups_clip_dilated", "grid_groups_causal", "grid_groups_without_keys", "grid_ragged_groups",
    "grid_intersection",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_who_runs_what(name):
    assert not refuses("edges_torch", name)
    assert not refuses("reference", name)
    assert not refuses("edges_cpu", name)
    assert not refuses("edges_cpu", name, "additive")
    assert refuses("sdpa", name) == (name not in FUSED)
    assert refuses("sdpa", name, "bias")
    assert refuses("sdpa", name, "cosine") == (name not in FUSED)
    assert not refuses("edges_cpu", name, "sink")
    assert refuses("banded_torch", name) == (name not in BANDS)
    assert refuses("banded_torch", name, "bias")
    assert refuses("banded_cpu", name)
    assert refuses("banded_cpu", name, dtype=torch.float32) == (name not in BANDS | FUSED)
    assert refuses("banded_cpu", name, "bias", torch.float32)
    assert refuses("grid", name) == (name not in GRIDS)
    assert refuses("grid", name, "bias")
