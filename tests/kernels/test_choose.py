import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from graphattn import BandedGraph, CompleteGraph, GlobalGraph, GridGraph, attend, batch_graphs, causal, choose_kernel
from graphattn.extending import register_kernel, remove_kernel
from graphattn.kernels.choose import KERNELS, explain, first_that_runs, select
from graphattn.kernels.crossovers import CROSSOVERS
from graphattn.kernels.cuda.edges_cuda import why_not_triton
from graphattn.kernels.plain.edges_torch import EdgesTorch
from graphattn.nn import ALiBi, Score
from graphattn.running.arguments import Options, prepare


def chosen(graph, **options):
    return choose_kernel(
        graph, torch.randn(graph.num_queries, 2, 4), torch.randn(graph.num_keys, 2, 4), **options
    ).kernel


def test_fused_attention_where_nothing_is_asked_per_edge():
    assert chosen(CompleteGraph([30, 50], [40, 40])) == "banded_cpu"
    assert chosen(GlobalGraph(50, range(20))) == "banded_cpu"
    assert chosen(CompleteGraph([3, 5], [4, 4])) == "edges_cpu"
    assert chosen(CompleteGraph(50), dropout=0.1) == "edges_cpu"
    assert chosen(CompleteGraph(3), normalizer="relu") == "edges_cpu"
    assert chosen(CompleteGraph(3), bias=torch.zeros(9)) == "edges_cpu"


def test_parts_name_their_kernels():
    assert chosen(batch_graphs([causal(99), BandedGraph(6, 1, 1)])) == "banded_cpu + edges_cpu"
    assert chosen(batch_graphs([causal(3), BandedGraph(600, 64, 64)])) == "edges_cpu + banded_cpu"


def test_what_would_be_slower_waits_to_be_asked():
    narrow = BandedGraph(600, 1, 1)
    assert chosen(narrow) == "edges_cpu"
    assert chosen(narrow, kernel="banded") == "banded_cpu"
    assert chosen(BandedGraph(600, 64, 64)) == "banded_cpu"
    assert chosen(GridGraph((30, 30), (0, 1))) == "edges_cpu"
    assert chosen(GridGraph((30, 30), 3)) == "edges_cpu"
    assert chosen(GridGraph((24, 24), 16)) == "grid"


def test_small_examples_of_many_sizes_go_in_one_call():
    sizes = [5, 6, 7, 8, 9, 10, 11, 12]
    assert chosen(CompleteGraph(sizes)) == chosen(causal(sizes)) == "edges_cpu"
    assert chosen(CompleteGraph([1] * 8, sizes)) == "edges_cpu"  # what eight writing models ask for
    assert chosen(CompleteGraph(sizes), kernel="sdpa") == "sdpa"
    assert chosen(CompleteGraph([5] * 8)) == chosen(causal(sizes[:4])) == "edges_cpu"
    large = CompleteGraph([100 * size for size in sizes])
    assert chosen(large) == "banded_cpu"
    assert choose_kernel(large, torch.randn(6800, 2, 4).double()).kernel == "sdpa"
    choice = choose_kernel(CompleteGraph(sizes), torch.randn(68, 2, 4).double())
    assert "slower than loops over less than 48000 edges in 8 calls (got 620)" in choice.refusals["sdpa"]
    assert "complete and causal" in choose_kernel(BandedGraph(sizes, 1, 1), torch.randn(68, 2, 4)).refusals["sdpa"]


def test_tiles_in_loops_come_before_the_attention_of_torch():
    for graph in (causal(99), causal([100, 3]), CompleteGraph(1000)):
        assert chosen(graph) == "banded_cpu"
        for dtype in (torch.bfloat16, torch.float16):
            choice = choose_kernel(graph, torch.randn(graph.num_queries, 2, 4, dtype=dtype))
            assert choice.kernel == "banded_cpu"
            assert f"slower than loops in {str(dtype).removeprefix('torch.')}" in choice.refusals["sdpa"]
    assert choose_kernel(CompleteGraph(1000), torch.randn(1000, 2, 4).double()).kernel == "sdpa"


class Distance(Score):
    """A score that no fused kernel has."""

    name = "distance"

    def between(self, query, key, edge_features):
        return -(query - key).square().sum(-1)


def test_what_runs_everywhere_comes_last():
    choice = choose_kernel(BandedGraph(6, 1, 1), torch.randn(6, 2, 4), score=Distance())
    assert choice.kernel == "edges_torch"
    assert [*choice.refusals, "edges_torch", "reference"] == [kernel.name for kernel in KERNELS]
    assert "got 'distance'" in choice.refusals["edges_cpu"]


def test_names_of_families():
    assert chosen(CompleteGraph(3), kernel="edges") == "edges_cpu"
    assert chosen(CompleteGraph(3), kernel="edges_torch") == "edges_torch"


@pytest.mark.skipif(why_not_triton() is not None, reason=str(why_not_triton()))
def test_few_keys_are_for_edges_on_cuda():
    with FakeTensorMode():
        for graph, kernel in (
            (BandedGraph(300, 2, 2), "edges_cuda"),
            (BandedGraph(300, 20, 20), "flash_cuda"),
            (CompleteGraph([10] * 30), "edges_cuda"),
            (CompleteGraph([30] * 10), "flash_cuda"),
        ):
            tensors = torch.randn(3, 300, 2, 16, device="cuda", dtype=torch.bfloat16)
            plan, inputs, _ = prepare(*tensors, graph)
            found, refusals = explain(plan, inputs, is_finite=True)
            assert found.name == kernel
            if kernel == "edges_cuda":
                assert "less than 24 keys on average" in refusals["flash_cuda"]


def test_edges_give_way_to_tiles_where_memory_would_not_do():
    narrow = GridGraph((30, 30), 3)
    assert chosen(narrow) == "edges_cpu"
    many = torch.randn(900, 2**12, 1)
    assert narrow.num_edges * 2**12 > CROSSOVERS.most_numbers_of_edges
    assert choose_kernel(narrow, many).kernel == "grid"
    assert choose_kernel(narrow, many[:, :2]).kernel == "edges_cpu"


def test_a_bias_by_offset_and_dilation_move_the_crossover():
    band, dilated = BandedGraph(600, 20, 20), BandedGraph(2000, 64, 64, dilation=4)
    query = torch.randn(2000, 2, 4, dtype=torch.float64)  # tiles of torch's attention
    choices = choose_kernel(band, query[:600]), choose_kernel(dilated, query)
    assert [choice.kernel for choice in choices] == ["edges_cpu"] * 2
    assert [choice.refusals["banded_torch"].split(" of its")[0] for choice in choices] == [
        f"'banded_torch' is slower than edges that fill less than {least['banded_torch']:.0%}"
        for least in (CROSSOVERS.least_share_of_tiles, CROSSOVERS.least_share_of_dilated_tiles)
    ]
    assert choose_kernel(band, query[:600], bias=ALiBi(2)).kernel == "banded_torch"
    least = CROSSOVERS.least_share_of_tiles["banded_cpu"]
    assert f"less than {least:.0%}" in choose_kernel(BandedGraph(600, 1, 1), query[:600].float()).refusals["banded_cpu"]


@pytest.mark.parametrize(
    "graph", [causal([9, 150]), BandedGraph(300, 20, 20), CompleteGraph([5] * 3), GridGraph((24, 24), 16)]
)
def test_a_remembered_choice_is_that_of_the_same_question(graph):
    """Questions that differ in one thing alone, asked one after the other and all of them again."""
    tensors = {
        (dtype, heads, dim): torch.randn(graph.num_queries, heads, dim, dtype=dtype)
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
        for heads, dim in ((2, 4), (2, 0), (1, 4))
    }
    options = [
        {},
        {"dropout": 0.1},
        {"dropout": 0.2},
        {"normalizer": "relu"},
        {"score": "cosine"},
        {"score": "gaussian"},
    ]
    options += [
        {"bias": torch.zeros(graph.num_edges)},
        {"bias": ALiBi(2)},
        {"edge_features": torch.ones(graph.num_edges, 1)},
    ]
    asked = 0
    for _ in range(2):
        for query in tensors.values():
            for given in options:
                if query.size(1) == 1 and callable(given.get("bias")):
                    continue
                plan, inputs, _ = prepare(query, query, query, graph, Options(**given))
                for is_finite in (True, False):
                    remembered = select(plan, inputs, None, is_finite)
                    assert remembered is first_that_runs(plan, inputs, None, is_finite)
                    assert remembered is explain(plan, inputs, None, is_finite)[0]
                    asked += 1
    assert asked > 200


class Toy(EdgesTorch):
    """A kernel from outside, for complete graphs alone."""

    name = "toy"

    def why_not(self, plan, inputs):
        return None if isinstance(plan.graph, CompleteGraph) else "'toy' runs complete graphs"

    def forward(self, plan, inputs):
        result = super().forward(plan, inputs)
        return result._replace(out=2 * result.out)  # to be told from others


def test_a_kernel_from_outside_is_asked_first_or_where_it_says():
    graph, x = CompleteGraph(4), torch.randn(4, 2, 3)
    before = attend(x, x, x, graph)
    register_kernel(Toy())
    try:
        torch.testing.assert_close(attend(x, x, x, graph), 2 * before)
        choice = choose_kernel(causal(4), x)
        assert choice.kernel == "edges_cpu" and choice.refusals["toy"] == "'toy' runs complete graphs"
        with pytest.raises(ValueError, match=r"a name of its own.*\(got 'toy'\)"):
            register_kernel(Toy())
    finally:
        remove_kernel("toy")
    torch.testing.assert_close(attend(x, x, x, graph), before)
    register_kernel(Toy(), before="edges_torch")
    try:
        torch.testing.assert_close(attend(x, x, x, graph), before)
        torch.testing.assert_close(attend(x, x, x, graph, kernel="toy"), 2 * before)
    finally:
        remove_kernel("toy")


class Turned(Toy):
    name = "turned"

    def forward(self, plan, inputs):
        result = super().forward(plan, inputs)
        return result._replace(out=result.out.transpose(0, 1))


def test_results_of_a_kernel_from_outside_have_the_shapes_asked_for():
    graph, x = CompleteGraph(4), torch.randn(4, 2, 3)
    register_kernel(Turned())
    try:
        with pytest.raises(ValueError, match=r"kernel 'turned' must give 'out' \[4, 2, 3\] \(got \[2, 4, 3\]\)"):
            attend(x, x, x, graph)
    finally:
        remove_kernel("turned")


def test_only_kernels_are_registered_and_only_those_removed():
    with pytest.raises(TypeError, match="subclass of Kernel"):
        register_kernel(Toy)
    with pytest.raises(ValueError, match="'before' must be one of"):
        register_kernel(Toy(), before="fastest")
    with pytest.raises(ValueError, match="no kernel of that name was registered"):
        remove_kernel("sdpa")


class Unscaled(Toy):
    """A kernel may look at anything that it is given."""

    name = "unscaled"

    def why_not(self, plan, inputs):
        return None if plan.scale == 1 else "'unscaled' has a scale of 1 only"


def test_a_kernel_from_outside_is_asked_at_every_call():
    graph, x = CompleteGraph(4), torch.randn(4, 2, 3)
    plain = attend(x, x, x, graph, scale=0.5)
    register_kernel(Unscaled())
    try:
        for _ in range(2):
            attend(x, x, x, graph, scale=1.0)
            torch.testing.assert_close(attend(x, x, x, graph, scale=0.5), plain)
    finally:
        remove_kernel("unscaled")


def test_what_a_graph_remembers_does_not_grow_with_numbers():
    graph, x = causal(9), torch.randn(9, 2, 4)
    for number in range(3):
        attend(x, x, x, graph, dropout=0.1 + 0.1 * number, scale=1.0 + number)
    before = len(graph._cache)
    for number in range(40):
        attend(x, x, x, graph, dropout=0.01 * number, scale=2.0 + number)
    assert len(graph._cache) <= before + 1  # the first without dropout
