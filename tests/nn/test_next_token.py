import copy
import gc
import io
import pickle
import warnings

import pytest
import torch

from graphattn import (
    BandedGraph,
    CompleteGraph,
    EdgeListGraph,
    GlobalGraph,
    GridGraph,
    PerHead,
    PrefixGraph,
    as_graph,
    batch_graphs,
    causal,
)
from graphattn.graphs import strided
from graphattn.nn import LanguageModel, PerLayer, Seq2Seq
from graphattn.nn.next_token import GraphMemory

LATER = torch.tensor([[0, 5, 3], [1, 2, 3]])  # 5 is shown to 2

SHOW_THE_NEXT = {
    "complete": CompleteGraph([3, 4]),
    "band": BandedGraph(7, 2, 1),
    "offset": BandedGraph(7, 2, 0, offset=1),
    "one example of a band": BandedGraph([2, 5], 1, 0, offset=[0, 3]),
    "grid": GridGraph((7,), 1, 1),
    "edge list": EdgeListGraph(LATER, 7),
    "edge_index": LATER,
    "mask": torch.ones(7, 7).bool(),
    "global": GlobalGraph(7, [0]),
    "union": causal(7) | EdgeListGraph(LATER, 7),
    "complement": ~causal(7),
    "transposed": causal(7).T,
    "list": [causal(3), CompleteGraph(4)],
    "batch": batch_graphs([causal(3), EdgeListGraph(torch.tensor([[1], [0]]), 4)]),
    "prefix and more": PrefixGraph(7, 3) | CompleteGraph(7),
    "sparse": torch.sparse_coo_tensor(LATER.flip(0), torch.ones(3), (7, 7)),
    "a layer": PerLayer([causal(7), BandedGraph(7, 1, 1)]),
    "a head": PerHead([causal(7), CompleteGraph(7)]),
}


def language_model(tokens, graph):
    return LanguageModel(9, 8, 2, 2)(tokens, graph)


def pair_model(tokens, graph):
    num_examples = 1 if isinstance(graph, (PerLayer, PerHead)) else as_graph(graph, len(tokens)).num_examples
    return Seq2Seq(9, 9, 8, 2, 2)(torch.arange(num_examples), tokens, CompleteGraph([1] * num_examples), graph)


@pytest.mark.parametrize("graph", SHOW_THE_NEXT.values(), ids=SHOW_THE_NEXT)
@pytest.mark.parametrize("model", [language_model, pair_model])
def test_graphs_that_show_the_next_token_are_refused(graph, model):
    for _ in range(2):
        with pytest.raises(ValueError, match="must not show them what comes next"):
            model(torch.randint(9, (7,)), graph)


@pytest.mark.parametrize("name", ["complete", "edge list", "edge_index", "mask", "union", "list", "a layer"])
def test_compiled_models_refuse_them_too(name):
    torch._dynamo.reset()
    model = torch.compile(LanguageModel(9, 8, 2, 2), backend="eager", fullgraph=True)
    with pytest.raises(ValueError, match="must not show them what comes next"):
        model(torch.randint(9, (7,)), SHOW_THE_NEXT[name])


@pytest.mark.parametrize("encoding", ["sinusoidal", None])
def test_a_check_is_not_dead_code_to_a_compiler(encoding):
    torch._dynamo.reset()
    model = torch.compile(LanguageModel(9, 8, 1, 2, encoding=encoding), backend="aot_eager", fullgraph=True)
    model(torch.randint(9, (7,)), causal(7))
    with pytest.raises(ValueError, match="must not show them what comes next"):
        model(torch.randint(9, (6,)), BandedGraph(6, 2, 2))


def test_a_graph_joins_tokens_to_the_same_tokens():
    with pytest.raises(ValueError, match="as many keys as queries"):
        LanguageModel(9, 8, 1, 2)(torch.randint(9, (5,)), BandedGraph([2, 3], 1, 0, num_keys=[3, 2]))


def test_a_prefix_sees_itself_and_nothing_after_it():
    torch.manual_seed(0)
    model, tokens = LanguageModel(9, 8, 2, 2).double(), torch.randint(9, (9,))
    graph = PrefixGraph([4, 5], [2, 3])
    out = model(tokens, graph)
    for changed, same in ((1, [*range(4, 9)]), (3, [0, 1, 2, *range(4, 9)]), (6, [0, 1, 2, 3]), (7, range(7))):
        other = tokens.clone()
        other[changed] = (other[changed] + 1) % 9
        differs = (model(other, graph) != out).any(-1).nonzero().flatten().tolist()
        assert not set(differs) & set(same)
        assert set(differs) >= ({4, 5, 6} if changed == 6 else {0, 1} if changed == 1 else {changed})


# What a model was trained on ------------------------------------------------------------------------------------------


def trained(*graphs, **options):
    model = LanguageModel(9, 8, 2, 2, **options)
    for graph in graphs:
        num_nodes = (graph.graphs[0] if isinstance(graph, PerLayer) else graph).num_queries
        model(torch.randint(9, (num_nodes,)), graph)
    return model


@pytest.mark.parametrize(
    ("graphs", "wanted"),
    [
        ([], causal(20)),
        ([causal([9, 4])], causal(20)),
        ([BandedGraph([9, 2], 3, 0)], BandedGraph(20, 3, 0)),
        # The short text was seen whole by the band too.
        (
            [BandedGraph([9, 2], 3, 0), causal(3)],
            BandedGraph(20, 3, 0),
        ),
        ([causal(3), BandedGraph(9, 3, 0)], BandedGraph(20, 3, 0)),
        ([BandedGraph(9, 3, 0), causal(9)], causal(20)),
        ([BandedGraph(9, 2, 0, offset=-1)], BandedGraph(20, 2, 0, offset=-1)),
        ([strided(9, 3)], strided(20, 3)),
        ([PrefixGraph([9, 8], [2, 3])], PrefixGraph([20, 20], [5, 7])),
        ([PrefixGraph(9, 2), PrefixGraph(9, 3)], PrefixGraph([20, 20], [5, 7])),
        ([PrefixGraph(9, 6), PrefixGraph(3, 6)], PrefixGraph([20, 20], [5, 6])),
        (
            [PrefixGraph(9, 2) & BandedGraph(9, 3, 3), PrefixGraph(9, 3) & BandedGraph(9, 3, 3)],
            PrefixGraph([20, 20], [5, 7]) & BandedGraph([20, 20], 3, 3),
        ),
        (
            [PrefixGraph(size, size // 2) & BandedGraph(size, 3, 3) for size in (9, 3, 8, 4)],
            PrefixGraph([20, 20], [5, 7]) & BandedGraph([20, 20], 3, 3),
        ),
        (
            [BandedGraph(9, 3, 0) | PrefixGraph(9, size) & BandedGraph(9, 4, 4) for size in (2, 3)],
            BandedGraph([20, 20], 3, 0) | PrefixGraph([20, 20], [5, 7]) & BandedGraph([20, 20], 4, 4),
        ),
        (
            [batch_graphs([PrefixGraph(size, size - 5) & BandedGraph(size, 3, 3) for size in (9, 8)])],
            PrefixGraph([20, 20], [5, 7]) & BandedGraph([20, 20], 3, 3),
        ),
    ],
    ids=str,
)
def test_the_graph_grows(graphs, wanted):
    assert trained(*graphs).trained_on.grow(20, [5, 7]) == wanted


def test_evaluation_is_no_training():
    model = trained(BandedGraph(9, 3, 0)).eval()
    model(torch.randint(9, (9,)), causal(9))
    assert model.trained_on.grow(20, [5]) == BandedGraph(20, 3, 0)


def test_each_layer_has_its_own():
    model = trained(PerLayer([BandedGraph(9, 3, 0), causal(9)]))
    assert model.trained_on.grow(20, [5]).graphs == [BandedGraph(20, 3, 0), causal(20)]
    same = trained(PerLayer([causal(9), causal(9)])).trained_on.grow(20, [5]).graphs
    assert same[0] is same[1]  # layers of one graph share a window


def test_given_edges_are_their_own_rule_while_they_live():
    edges = [EdgeListGraph(causal(9).edge_index()[:, keep], 9) for keep in (slice(None), slice(None, None, 2))]
    model = trained(PerLayer(edges))
    assert model.trained_on.grow(9, [2]).graphs == edges
    with pytest.raises(ValueError, match=r"trained on EdgeListGraph\(.*in any text of 10 tokens; give 'graph'"):
        model.trained_on.grow(10, [2])
    del edges
    gc.collect()
    with pytest.raises(ValueError, match="give 'graph'"):
        model.trained_on.grow(9, [2])


@pytest.mark.parametrize("way", ["state_dict", "file", "deepcopy", "pickle", "plain weights"])
def test_it_stays_with_the_weights(way):
    model = trained(PrefixGraph([9, 8], [2, 3]) & BandedGraph([9, 8], 4, 9))
    other = trained(BandedGraph(9, 1, 0))
    if way == "state_dict":
        other.load_state_dict(model.state_dict())
    elif way == "file":
        file = io.BytesIO()
        torch.save({"model": model.state_dict()}, file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True)["model"])
    elif way == "deepcopy":
        other = copy.deepcopy(model)
    elif way == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        with pytest.warns(
            UserWarning, match=r"do not say which graphs .* over the rule that the model has, .*'band', 1, 0"
        ):
            other.load_state_dict(dict(model.state_dict()))
        assert other.trained_on.grow(20, [5]) == BandedGraph(20, 1, 0)
        return
    assert other.trained_on.grow(20, [5]) == PrefixGraph(20, 5) & BandedGraph(20, 4, None)
    assert other.trained_on.number != model.trained_on.number
    assert list(model.state_dict()) == list(LanguageModel(9, 8, 2, 2).state_dict())


def test_inside_other_modules():
    outer, other = (torch.nn.ModuleDict({"writer": trained(BandedGraph(9, window, 0))}) for window in (3, 1))
    other.load_state_dict(outer.state_dict())
    assert other["writer"].trained_on.grow(20, [5]) == BandedGraph(20, 3, 0)


def test_the_names_of_compiled_models():
    """Renaming inside the state_dict keeps the rule; a dict made of it has lost it, and says so."""
    model = trained(BandedGraph(9, 3, 0))
    state = torch.compile(model, backend="eager").state_dict()
    other = LanguageModel(9, 8, 2, 2)
    with pytest.warns(UserWarning, match="the model writes over causal"):
        other.load_state_dict({name.removeprefix("_orig_mod."): x for name, x in state.items()})
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "_orig_mod.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.load_state_dict(state)
    assert other.trained_on.grow(20, [5]) == BandedGraph(20, 3, 0)


def test_files_from_before_the_rule_was_kept_load_without_a_word():
    model = trained(BandedGraph(9, 3, 0))
    state = model.state_dict()
    del state._metadata[""]["trained_on"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_state_dict(state)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_training_is_remembered(backend):
    torch._dynamo.reset()
    model = LanguageModel(9, 8, 2, 2)
    compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=True)
    for num_nodes in (9, 10, 7):
        compiled(torch.randint(9, (num_nodes,)), BandedGraph(num_nodes, 3, 0)).sum().backward()
    assert model.trained_on.grow(20, [5]) == BandedGraph(20, 3, 0)
    compiled(torch.randint(9, (8,)), PerLayer([causal(8), BandedGraph(8, 3, 0)]))
    assert model.trained_on.grow(20, [5]).graphs == [causal(20), BandedGraph(20, 3, 0)]


def test_heads_of_their_own_have_no_rule():
    memory = GraphMemory()
    memory.note([PerHead([causal(7), BandedGraph(7, 1, 0)])])
    with pytest.raises(ValueError, match=r"trained on PerHead\(2 heads"):
        memory.grow(5, [2])
