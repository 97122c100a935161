"""What make_fx would record of eager code; torch.jit.trace is tried where the doors are (tests/running/test_arguments.py)."""

import pytest
import torch
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from graphattn import as_graph, attend, attention_scores, attention_weights, causal, weighted_sum
from graphattn.nn import GATConv, GATv2Conv, GraphAttention, TransformerConv

EDGES = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
FUNCTIONS = {
    "attend": lambda x, edges: attend(x, x, x, edges),
    "attend on a Graph": lambda x, edges: attend(x, x, x, causal(4)),
    "a batch of queries": lambda x, edges: attend(x[None], x[None], x[None], edges),
    "attention_weights": lambda x, edges: attention_weights(x, x, edges),
    "attention_scores": lambda x, edges: attention_scores(x, x, edges),
    "weighted_sum": lambda x, edges: weighted_sum(x[..., 0], x, edges),
    "torch.func": lambda x, edges: torch.func.grad(lambda x: attend(x, x, x, edges).sum())(x),
    "as_graph": lambda x, edges: x[:, 0, 0] * as_graph(edges, 4).degrees(),
}
LAYERS = {kind.__name__: kind for kind in (GATConv, GATv2Conv, TransformerConv, GraphAttention)}


@pytest.mark.parametrize("pre_dispatch", [False, True])
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_make_fx_would_keep_the_numbers_of_its_example(name, mode, pre_dispatch):
    record = make_fx(FUNCTIONS[name], tracing_mode=mode, pre_dispatch=pre_dispatch)
    with pytest.raises(RuntimeError, match=r"make_fx would keep .*torch.export or torch.compile"):
        record(torch.randn(4, 2, 3), EDGES)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("name", LAYERS)
def test_make_fx_of_layers(name, mode):
    layer = LAYERS[name](6, 3, heads=2)

    def call(parameters, x, edges):
        return functional_call(layer, parameters, (x, edges))

    with pytest.raises(RuntimeError, match="make_fx would keep"):
        make_fx(call, tracing_mode=mode)(dict(layer.named_parameters()), torch.randn(4, 6), EDGES)


@pytest.mark.parametrize("strict", [False, True])
def test_torch_export_goes_on(strict):
    layer, x = GraphAttention(6, 3, heads=2), torch.randn(4, 6)
    exported = torch.export.export(layer, (x, EDGES), strict=strict).module()
    others = EDGES.flip(0)
    torch.testing.assert_close(exported(x, others), layer(x, others))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compile_goes_on(backend):
    layer, x = GraphAttention(6, 3, heads=2), torch.randn(4, 6, requires_grad=True)
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    for edges in (EDGES, EDGES.flip(0)):
        torch.testing.assert_close(compiled(x, edges), layer(x, edges))
        (found,), (wanted,) = (torch.autograd.grad(run(x, edges).square().sum(), x) for run in (compiled, layer))
        torch.testing.assert_close(found, wanted)
