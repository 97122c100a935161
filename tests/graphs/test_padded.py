import pytest
import torch
from torch_geometric.utils import to_dense_batch

import graphattn
from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, causal, from_padded, to_padded
from graphattn.nn import EncoderLayer

MASKS = {
    "behind": [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]],
    "before": [[0, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1]],
    "holes and an empty row": [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1]],
}


def rows_of(x, mask):
    """The nodes of each example, by a plain loop."""
    return [[x[i, j] for j in range(x.size(1)) if mask[i][j]] for i in range(x.size(0))]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("name", MASKS)
def test_there_and_back(name, dtype):
    mask = MASKS[name]
    padded = torch.randn(3, 4, 2)
    x, graph = from_padded(padded, torch.tensor(mask).to(dtype))
    rows = rows_of(padded, mask)
    assert torch.equal(x, torch.stack([node for row in rows for node in row]))
    assert graph == CompleteGraph([len(row) for row in rows])
    again, is_node = to_padded(x, torch.tensor(mask).to(dtype), fill_value=7.0)
    assert is_node.dtype == torch.bool and is_node.tolist() == torch.tensor(mask).bool().tolist()
    assert torch.equal(again[is_node], padded[is_node]) and bool((again[~is_node] == 7).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", ["-inf", "lowest", "-10000"])
def test_masks_that_are_added_to_scores(hidden, dtype):
    """As torch's float masks: 0 is a node. One of zeros alone hides nothing."""
    number = {"-inf": -torch.inf, "lowest": torch.finfo(dtype).min, "-10000": -1e4}[hidden]
    padded = torch.randn(3, 4, 2)
    for is_node in [*map(torch.tensor, MASKS.values()), torch.ones(3, 4)]:
        added = torch.zeros(3, 4, dtype=dtype).masked_fill(is_node == 0, number)
        x, graph = from_padded(padded, added)
        assert torch.equal(x, padded[is_node == 1]) and [size for size, _ in graph.sizes] == is_node.sum(1).tolist()
        assert to_padded(x, added)[1].equal(is_node == 1)


@pytest.mark.parametrize("layout", ["contiguous", "expanded", "transposed", "a step"])
def test_gradients_both_ways(layout):
    mask = torch.tensor(MASKS["holes and an empty row"])
    leaf = {
        "contiguous": torch.randn(3, 4, 2),
        "expanded": torch.randn(3, 1, 2).expand(3, 4, 2),
        "transposed": torch.randn(2, 4, 3).transpose(0, 2),
        "a step": torch.randn(3, 8, 2)[:, ::2],
    }[layout].double().detach().requires_grad_()  # fmt: skip

    def both(padded):
        x, _ = from_padded(padded, mask)
        return x, to_padded(x.square(), mask)[0]

    assert torch.autograd.gradcheck(both, (leaf,))
    (gradient,) = torch.autograd.grad(both(leaf)[1].sum(), leaf)  # a gradient with stride 0
    assert torch.equal(gradient, 2 * leaf * mask[..., None])


def test_a_layer_ignores_padding():
    layer, padded = EncoderLayer(8, 2).eval(), torch.randn(3, 4, 8)
    mask = torch.tensor(MASKS["before"]).bool()
    x, graph = from_padded(padded, mask)
    out, _ = to_padded(layer(x, graph), mask)
    for i in range(3):
        alone = layer(padded[i][mask[i]], CompleteGraph(int(mask[i].sum())))
        torch.testing.assert_close(out[i][mask[i]], alone)


@pytest.mark.parametrize(
    "make, expected",
    [(causal, causal([3, 1])), (lambda sizes: BandedGraph(sizes, 1, 0), BandedGraph([3, 1], 1, 0))],
)
def test_other_graphs(make, expected):
    _, graph = from_padded(torch.zeros(2, 3), torch.tensor([[1, 1, 1], [1, 0, 0]]), graph=make)
    assert graph.edge_index().tolist() == expected.edge_index().tolist() and graph.sizes == expected.sizes


def test_without_a_mask_and_tokens():
    x, graph = from_padded(torch.arange(6).view(2, 3))
    assert x.tolist() == list(range(6)) and graph == CompleteGraph([3, 3])


def test_examples_of_a_graph_are_padded_as_pyg_does():
    x, graph = torch.randn(6, 2, 3), EdgeListGraph(torch.zeros(2, 0, dtype=torch.int64), [2, 0, 4])
    padded, mask = to_padded(x, graph, length=5, fill_value=-1.0)
    wanted, wanted_mask = to_dense_batch(x, graph.batch(), fill_value=-1.0, max_num_nodes=5, batch_size=3)
    assert torch.equal(padded, wanted) and torch.equal(mask, wanted_mask)


def test_no_examples():
    x, graph = from_padded(torch.zeros(2, 0, 3))
    assert x.shape == (0, 3) and graph.shape == (0, 0)
    assert to_padded(x, graph)[0].shape == (2, 0, 3)


def test_names_are_public():
    assert graphattn.inputs.from_padded is from_padded and graphattn.inputs.to_padded is to_padded


PADDED = torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: from_padded(torch.zeros(3)), r"'x' must be a tensor \[num_examples, length, ...\] \(got \[3\]\)"),
        (lambda: from_padded(PADDED, torch.ones(2, 4)), r"'mask' must be .* \[2, 3\] \(got \[2, 4\]\)"),
        (lambda: from_padded(PADDED, torch.ones(2, 3, 1)), r"'mask' must be a tensor .* \(got \[2, 3, 1\]\)"),
        (lambda: from_padded(PADDED, torch.tensor([2, 3])), r"make torch.arange\(length\) < counts"),
        (
            lambda: from_padded(PADDED, torch.full((2, 3), 0.5)),
            r"\(got torch.float32 with other numbers\); give a bool",
        ),
        (lambda: from_padded(PADDED, torch.tensor([[0, 0, -1], [0, 0, 0]])), r"\(got torch.int64 with other numbers\)"),
        (lambda: from_padded(PADDED, graph=lambda sizes: causal(6)), r"examples of \[3, 3\] nodes"),
        (lambda: from_padded(PADDED, graph=lambda sizes: sizes), r"must make a Graph .* \(got list\)"),
        (lambda: to_padded(torch.zeros(4, 2), causal([2, 3])), r"must hold the 5 nodes of 'layout' \(got \[4, 2\]\)"),
        (lambda: to_padded(torch.zeros(5), causal([2, 3]), length=2), "'length' must be at least 3"),
        (lambda: to_padded(torch.zeros(2), torch.ones(1, 2), length=3), r"'length' is that of the mask, 2 \(got 3\)"),
        (lambda: to_padded(torch.zeros(2), [1, 1]), r"'layout' must be a Graph or a mask"),
    ],
)
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


class Padded(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = EncoderLayer(8, 2)

    def forward(self, x, mask):
        nodes, graph = from_padded(x, mask)
        return to_padded(self.layer(nodes, graph), mask)[0]


def test_export_is_refused_and_compiled_code_runs():
    model, arguments = Padded().eval(), (torch.randn(3, 4, 8), torch.tensor(MASKS["before"]))
    with pytest.raises(ValueError, match="cannot carry the graph of a padded batch"):
        torch.export.export(model, arguments, strict=False)
    torch.testing.assert_close(torch.compile(model, backend="aot_eager")(*arguments), model(*arguments))


def test_a_graph_that_is_made_already_is_refused():
    with pytest.raises(TypeError, match="must be a function that makes a graph .* \\(got CompleteGraph\\(8\\)\\)"):
        from_padded(torch.randn(2, 4, 3), graph=CompleteGraph(8))
