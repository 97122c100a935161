"""The tables of the cheat sheet, asked of the library: what a layer takes, which kernel runs a graph."""

import html
import re
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, GridGraph, causal, choose_kernel, nn
from graphattn.kernels.choose import select
from graphattn.kernels.cuda.edges_cuda import why_not_triton
from graphattn.kernels.native.library import why_not_native
from graphattn.running.arguments import Options, prepare

SHEET = (Path(__file__).parents[2] / "docs" / "cheatsheet.md").read_text(encoding="utf-8")
C, H = 8, 2  # channels, heads
COLUMNS = ("edge features", "bias", "two sets of nodes", "one output an example", "types")


def table(behind: str) -> dict[str, list[str]]:
    """{code of the first cell: the other cells} of the first table behind these words."""
    text = SHEET.split(behind, 1)[1]
    lines = re.search(r"(^\|.*\n)+", text, re.MULTILINE)[0].splitlines()
    rows = [[re.sub("</?code>", "", cell).strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    return {html.unescape(row[0]): row[1:] for row in rows[:1] + rows[2:]}


LAYERS = table("## Layers")
MADE = {
    "GraphAttention": lambda **more: nn.GraphAttention(C, C // H, H, **more),
    "TransformerConv": lambda **more: nn.TransformerConv(C, C // H, H, **more),
    "GATConv": lambda **more: nn.GATConv(C, C // H, H, **more),
    "GATv2Conv": lambda **more: nn.GATv2Conv(C, C // H, H, **more),
    "GPSConv": lambda **more: nn.GPSConv(C, nn.TransformerConv(C, C // H, H, **more), H),
    "EncoderLayer": lambda **more: nn.EncoderLayer(C, H, **more),
    "GraphTransformer": lambda **more: nn.GraphTransformer(C, 1, H, **more),
    "DecoderLayer": lambda **more: nn.DecoderLayer(C, H, **more),
    "GraphTransformerDecoder": lambda **more: nn.GraphTransformerDecoder(C, 1, H, **more),
    "LanguageModel": lambda **more: nn.LanguageModel(9, C, 1, H, **more),
    "Seq2Seq": lambda **more: nn.Seq2Seq(9, 9, C, 1, H, **more),
    "HeteroGraphAttention": lambda **more: nn.HeteroGraphAttention(C, C // H, (["a"], [("a", "to", "a")]), H, **more),
    "LinearAttention": lambda **more: nn.LinearAttention(C, C // H, H, **more),
    "AttentionReadout": lambda **more: nn.AttentionReadout(C, H, **more),
    "MeanReadout": lambda **more: nn.MeanReadout(**more),
}
ERRORS = (TypeError, ValueError, RuntimeError, AttributeError)


def run(name, layer, **more):
    """The layer on two examples of 4 and 3 nodes."""
    x, graph = torch.randn(7, C), CompleteGraph([4, 3])
    tokens = torch.randint(9, (7,))
    if name == "GPSConv":
        return layer(x, graph.edge_index(), graph=graph, **more)
    if "Decoder" in name:
        return layer(x, x, graph, graph, **more)
    if name == "LanguageModel":
        return layer(tokens, causal([4, 3]), **more)
    if name == "Seq2Seq":
        return layer(tokens, tokens, graph, causal([4, 3]), **more)
    if name == "HeteroGraphAttention":
        more = {"edge_attr_dict": {("a", "to", "a"): more.pop("edge_attr")}} if "edge_attr" in more else more
        return layer({"a": x}, {("a", "to", "a"): graph}, **more)
    return layer(x, graph, **more)


def takes_edge_features(name):
    run(name, MADE[name](edge_dim=3), edge_attr=torch.randn(25, 3))


def takes_a_bias(name):
    try:
        run(name, MADE[name](), edge_bias=nn.ALiBi(H))
    except ERRORS:
        run(name, MADE[name](edge_bias=nn.ALiBi(H)))


def reads_another_set(name):
    """7 nodes read 5 others."""
    sources, targets, graph = torch.randn(5, C), torch.randn(7, C), CompleteGraph(7, 5)
    layer, own = MADE[name](), CompleteGraph(7)
    if name == "HeteroGraphAttention":
        layer = nn.HeteroGraphAttention(C, C // H, (["a", "b"], [("a", "to", "b")]), H)
        layer({"a": sources, "b": targets}, {("a", "to", "b"): graph})
    elif "Decoder" in name:
        layer(targets, sources, own, graph)
    elif name == "Seq2Seq":
        layer(torch.randint(9, (5,)), torch.randint(9, (7,)), CompleteGraph(5), causal(7))
    else:
        edges = graph if name != "GPSConv" else graph.edge_index()
        layer((sources, targets), edges)


def gives_one_an_example(name):
    assert len(run(name, MADE[name]())) == 2 or name == "HeteroGraphAttention"
    if name == "HeteroGraphAttention":
        raise TypeError("a result for each type")


def takes_types(name):
    found = MADE[name]()({"a": torch.randn(7, C)}, {("a", "to", "a"): CompleteGraph(7)})
    assert isinstance(found, dict)


ASKED = dict(
    zip(COLUMNS, (takes_edge_features, takes_a_bias, reads_another_set, gives_one_an_example, takes_types), strict=True)
)


def test_the_sheet_has_every_layer():
    assert LAYERS.pop("layer", None) in (None, list(COLUMNS))
    assert set(LAYERS) == set(MADE)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_layer_takes_what_the_sheet_says(name, column):
    told = LAYERS[name][COLUMNS.index(column)]
    try:
        ASKED[column](name)
    except (*ERRORS, AssertionError):
        assert told == "no"
    else:
        assert told == "yes"


NAMES = {kind.__name__: kind for kind in (BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, GridGraph)}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


def graph_of(code, device):
    five_a_node = torch.arange(10_000, device=device).view(2, -1) * 7 % 2000
    return eval(code, {**NAMES, "causal": causal, "five_a_node": five_a_node})


@pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")
def test_kernels_on_a_cpu():
    told = table("On a CPU")
    assert told.pop("graph") == list(DTYPES)
    for code, names in told.items():
        graph = graph_of(code, "cpu")
        chosen = [choose_kernel(graph, torch.zeros(2000, 4, 32, dtype=dtype)).kernel for dtype in DTYPES.values()]
        assert chosen == names, code


@pytest.mark.skipif(why_not_triton() is not None, reason="Triton is not there")
def test_kernels_on_a_gpu():
    told = table("On a GPU")
    assert told.pop("graph") == list(DTYPES)
    for code, names in told.items():
        chosen = []
        for dtype in DTYPES.values():
            with FakeTensorMode():  # so that no GPU is needed
                graph, tensors = graph_of(code, "cuda"), torch.zeros(3, 2000, 4, 32, dtype=dtype, device="cuda")
                plan, inputs, _ = prepare(*tensors, graph, Options())
                chosen.append(select(plan, inputs, None, is_finite=True).name)
        assert chosen == names, code


def test_graphs_of_the_sheet_are_names_of_the_package():
    import graphattn

    for name in re.findall(r"`(\w+)\(", SHEET.split("## Layers")[0]):
        assert hasattr(graphattn, name), name
