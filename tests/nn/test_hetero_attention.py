"""HeteroGraphAttention beside a plain loop over typed edges and beside PyG's HGTConv with the same weights."""

import math

import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch_geometric.data import Batch, HeteroData
from torch_geometric.nn import to_hetero

from graphattn import CompleteGraph, accelerate, causal, nn
from graphattn.nn import GraphAttention, HeteroGraphAttention, Relu
from tests.nn.peer import assert_same, random_graph, result_and_gradients

TYPES = ["author", "paper", "venue"]
WRITES, CITES, HOSTS, LISTS = (
    ("author", "writes", "paper"),
    ("paper", "cites", "paper"),
    ("venue", "hosts", "paper"),
    ("paper", "lists", "author"),
)
METADATA = TYPES, [WRITES, CITES, HOSTS, LISTS]  # nothing leads to a venue
SIZES = {"author": 5, "paper": 6, "venue": 3}
COUNTS = {"author": 7, "paper": 9, "venue": 4}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def features():
    return {kind: torch.randn(COUNTS[kind], SIZES[kind], dtype=torch.float64) for kind in TYPES}


def edges(kinds=METADATA[1]):
    return {kind: random_graph(COUNTS[kind[0]], COUNTS[kind[2]], 16) for kind in kinds}


def with_random_biases(module):
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return module.double()


def by_loops(layer, x, edge_index, edge_attr=None, normalize=torch.softmax):
    """Target by target, head by head, edge by edge."""
    heads, size = layer.heads, layer.out_channels
    out = {}
    for target in {kind[2] for kind in METADATA[1]}:
        rows = []
        for i in range(len(x[target])):
            joined = []
            for head in range(heads):
                part, group = slice(head * size, head * size + size), head * layer.kv_heads // heads
                key_part = slice(group * size, group * size + size)
                query = layer.lin_query.lins[target](x[target][i])[part]
                scores, values = [], []
                for kind, pairs in edge_index.items():
                    relation = layer.relations["__".join(kind)]
                    for place, (source, j) in enumerate(pairs.t().tolist()):
                        if kind[2] != target or j != i:
                            continue
                        key = layer.lin_key.lins[kind[0]](x[kind[0]][source])[key_part]
                        value = layer.lin_value.lins[kind[0]](x[kind[0]][source])[key_part]
                        if relation.key_map is not None:
                            key, value = key @ relation.key_map[group], value @ relation.value_map[group]
                        if edge_attr is not None and kind in edge_attr:
                            edge = (relation.lin_edge.weight @ edge_attr[kind][place])[part]
                            key, value = key + edge, value + edge
                        score = query @ key / math.sqrt(size)
                        scores.append(score if relation.bias is None else score + relation.bias[head])
                        values.append(value)
                if scores:
                    weights = normalize(torch.stack(scores), 0)
                    joined.append((weights[:, None] * torch.stack(values)).sum(0))
                else:
                    joined.append(torch.zeros(size, dtype=torch.float64))
            rows.append(torch.cat(joined) if layer.concat else torch.stack(joined).mean(0))
        out[target] = torch.stack(rows)
    return {kind: out[kind] for kind in layer.target_types}


class Loops(torch.nn.Module):
    def __init__(self, layer, normalize=torch.softmax):
        super().__init__()
        self.layer, self.normalize = layer, normalize

    def forward(self, x, edge_index, edge_attr=None):
        out = by_loops(self.layer, x, edge_index, edge_attr, self.normalize)
        return out if self.layer.lin_out is None else {k: self.layer.lin_out.lins[k](o) for k, o in out.items()}


def relu_by_degree(scores, dim):
    return scores.relu() / len(scores)


OPTIONS = {
    "all": {},
    "edges": {"edge_dim": {WRITES: 2, HOSTS: 3}},
    "edges everywhere": {"edge_dim": 2, "kv_heads": 2, "relation_bias": False},
    "plain": {"relation_maps": False, "relation_bias": False, "bias": False},
    "mean": {"concat": False, "project_out": True},
    "relu": {"normalizer": Relu(scale_by_degree=True), "edge_dim": {CITES: 3}},
}


@pytest.mark.parametrize("watched", [False, True], ids=["kernel", "messages"])
@pytest.mark.parametrize("name", OPTIONS)
def test_equals_a_loop_over_typed_edges(name, watched):
    layer = with_random_biases(HeteroGraphAttention(SIZES, 3, METADATA, heads=4, **OPTIONS[name]))
    x, edge_index = features(), edges()
    sizes = OPTIONS[name].get("edge_dim", {})
    sizes = sizes if isinstance(sizes, dict) else dict.fromkeys(edge_index, sizes)
    attr = {kind: torch.randn(edge_index[kind].size(1), size, dtype=torch.float64) for kind, size in sizes.items()}
    inputs = (x, edge_index, attr) if attr else (x, edge_index)
    normalize = relu_by_degree if name == "relu" else torch.softmax
    wanted = result_and_gradients(Loops(layer, normalize), inputs)
    wanted = {name.removeprefix("layer."): x for name, x in wanted.items()}
    if watched:
        for relation in layer.relations.values():
            relation.register_message_forward_hook(lambda *_: None)
    assert_same(result_and_gradients(layer, inputs), wanted, 1e-12)


@pytest.mark.parametrize("kinds", [[WRITES], [CITES, LISTS], []], ids=["one", "one each", "none"])
def test_relations_that_are_missing_or_empty(kinds):
    layer = with_random_biases(HeteroGraphAttention(SIZES, 3, METADATA, heads=2))
    x, edge_index = features(), edges(kinds)
    wanted = by_loops(layer, x, edge_index)
    out = layer(x, edge_index)
    assert list(out) == ["author", "paper"]
    empty = {kind: torch.empty(2, 0, dtype=torch.long) for kind in METADATA[1] if kind not in kinds}
    for found in (out, layer(x, edge_index | empty)):
        for kind in wanted:
            torch.testing.assert_close(found[kind], wanted[kind], rtol=1e-12, atol=1e-12)


def hgt_and_ours(heads=2, size=4):
    """PyG's HGTConv and ours with its weights: the prior of each relation goes into its map of keys."""
    peer = pyg.HGTConv(SIZES, heads * size, METADATA, heads).double()
    own = HeteroGraphAttention(SIZES, size, METADATA, heads, relation_bias=False, project_out=True).double()
    with torch.no_grad():
        for prior in peer.p_rel.values():
            prior.uniform_(0.5, 1.5)
        for kind in TYPES:
            lin = peer.kqv_lin.lins[kind]
            for part, linear in enumerate((own.lin_key, own.lin_query, own.lin_value)):
                if kind in linear.lins:
                    linear.lins[kind].weight.copy_(lin.weight.chunk(3)[part])
                    linear.lins[kind].bias.copy_(lin.bias.chunk(3)[part])
        for kind, number in peer.edge_types_map.items():
            relation = own.relations["__".join(kind)]
            own_maps = slice(number, None, len(METADATA[1]))  # PyG: head after head, all relations of each
            relation.key_map.copy_(peer.k_rel.weight[own_maps] * peer.p_rel["__".join(kind)].view(heads, 1, 1))
            relation.value_map.copy_(peer.v_rel.weight[own_maps])
        for kind in own.target_types:
            own.lin_out.lins[kind].load_state_dict(peer.out_lin.lins[kind].state_dict())
    return peer, own


class AsHGT(torch.nn.Module):
    """HGT around the attention: GELU before the last map, a gated skip connection after it (Hu et al. 2020, eq. 5)."""

    def __init__(self, layer, skip):
        super().__init__()
        self.layer, self.skip = layer, skip
        layer.lin_out.register_forward_pre_hook(lambda _, args: ({k: F.gelu(x) for k, x in args[0].items()},))

    def forward(self, x, edge_index):
        out = {}
        for kind, result in self.layer(x, edge_index).items():
            share = self.skip[kind].sigmoid()
            is_kept = result.size(-1) == x[kind].size(-1)
            out[kind] = share * result + (1 - share) * x[kind] if is_kept else result
        return out


@pytest.mark.parametrize(("heads", "size"), [(2, 4), (3, 2)], ids=["no skip", "skip of papers"])
def test_equals_hgt_conv(heads, size):
    peer, own = hgt_and_ours(heads, size)
    inputs = features(), edges()
    wanted = result_and_gradients(peer, inputs)
    found = result_and_gradients(AsHGT(own, peer.skip), inputs)
    names = [name for name in wanted if name.startswith(("output", "input"))]
    assert_same({n: found[n] for n in names}, {n: wanted[n] for n in names}, 1e-10)
    own_maps = found["layer.relations.paper__cites__paper.value_map"]
    torch.testing.assert_close(own_maps, wanted["v_rel.weight"][1 :: len(METADATA[1])], rtol=1e-10, atol=1e-10)


def test_one_relation_is_graph_attention_and_keeps_its_symbolic_graph():
    metadata = ["word"], [("word", "sees", "word")]
    layer = HeteroGraphAttention(6, 4, metadata, heads=2, relation_maps=False, relation_bias=False, kernel="sdpa")
    plain = GraphAttention(6, 4, heads=2)
    for name in ("lin_query", "lin_key", "lin_value"):
        getattr(plain, name).load_state_dict(getattr(layer, name).lins["word"].state_dict())
    x = torch.randn(8, 6)
    out = layer({"word": x}, {metadata[1][0]: causal(8)})["word"]
    torch.testing.assert_close(out, plain(x, causal(8)))


def test_symbolic_and_given_relations_together():
    metadata = ["word", "topic"], [("word", "sees", "word"), ("topic", "colours", "word")]
    layer = with_random_biases(HeteroGraphAttention(6, 4, metadata, heads=2))
    x = {"word": torch.randn(5, 6).double(), "topic": torch.randn(2, 6).double()}
    symbolic = dict(zip(metadata[1], (causal(5), CompleteGraph(5, 2))))
    written = {kind: graph.edge_index() for kind, graph in symbolic.items()}
    torch.testing.assert_close(layer(x, symbolic)["word"], layer(x, written)["word"])


def test_weights_of_all_relations_of_a_node_sum_to_one():
    layer = with_random_biases(HeteroGraphAttention(SIZES, 3, METADATA, heads=2))
    x, edge_index = features(), edges()
    out, weights = layer(x, edge_index, return_attention_weights=True)
    assert weights.keys() == edge_index.keys()
    total = torch.zeros(COUNTS["paper"], 2).double()
    for kind in (WRITES, CITES, HOSTS):
        pairs, alpha = weights[kind]
        assert torch.equal(pairs, edge_index[kind])
        total.index_add_(0, pairs[1], alpha)
    assert total[:-1].sub(1).abs().max() < 1e-12 and total[-1].abs().max() == 0  # the last paper has no edges
    torch.testing.assert_close(layer(x, edge_index)["paper"], out["paper"])


def hetero_data():
    data = HeteroData()
    for kind, x in features().items():
        data[kind].x = x
    for kind, pairs in edges().items():
        data[kind].edge_index = pairs
    return data


def test_a_batch_of_hetero_data_is_its_examples():
    layer = with_random_biases(HeteroGraphAttention(SIZES, 3, METADATA, heads=2))
    examples = [hetero_data(), hetero_data()]
    batch = Batch.from_data_list(examples)
    together = layer(batch.x_dict, batch.edge_index_dict)
    apart = [layer(data.x_dict, data.edge_index_dict) for data in examples]
    for kind in ("author", "paper"):
        torch.testing.assert_close(together[kind], torch.cat([out[kind] for out in apart]))


def test_a_block_of_sampled_neighbours_gives_its_targets_what_the_whole_graph_gives():
    """The targets of a type are the first of its nodes, as in the blocks of a NeighborLoader."""
    layer = with_random_biases(HeteroGraphAttention(SIZES, 3, METADATA, heads=2))
    x, edge_index = features(), edges()
    whole = layer(x, edge_index)
    num_targets = {"author": 0, "paper": 4, "venue": 0}
    block = {kind: pairs[:, pairs[1] < num_targets[kind[2]]] for kind, pairs in edge_index.items()}
    pairs = {kind: (nodes, nodes[: num_targets[kind]]) for kind, nodes in x.items()}
    out = layer(pairs, block)
    assert out["author"].shape == (0, 6)
    torch.testing.assert_close(out["paper"], whole["paper"][:4])


def test_lazy_sizes():
    layer = HeteroGraphAttention(-1, 3, METADATA, heads=2).double()
    x = features()
    layer(x, edges([WRITES]))
    layer(x, edges())
    assert layer.lin_key.lins["venue"].weight.shape == (6, SIZES["venue"])


STRANGE = {
    "dots": (["film", "film.actor"], [("film", "has.actor", "film.actor"), ("film.actor", "has", "film")]),
    "names of ModuleDict": (
        ["type", "keys"],
        [("type", "to", "keys"), ("keys", "forward", "type"), ("type", "type", "type")],
    ),
    "brackets of ours": (["type", "<type>", "<<type>>"], [("type", "to", "<type>"), ("<type>", "to", "<<type>>")]),
    "one key for two": (
        ["user", "user__vip", "item"],
        [("user", "vip__buys", "item"), ("user__vip", "buys", "item"), ("item", "of", "user")],
    ),
    "dots and hashes": (["a.b", "a#b", "a%2Eb"], [("a.b", "x", "a#b"), ("a#b", "x", "a.b"), ("a%2Eb", "x", "a.b")]),
    "empty": (["", "a"], [("", "", "a"), ("a", "", ""), ("", "_", "")]),
    "spaces and letters": (["a b", "Ä/ß\n"], [("a b", "→ to", "Ä/ß\n"), ("Ä/ß\n", " ", "a b"), ("a b", "__", "a b")]),
    "numbers": (["0", "1"], [("0", "0", "1"), ("1", "1", "0")]),
}


@pytest.mark.parametrize("watched", [False, True], ids=["kernel", "messages"])
@pytest.mark.parametrize("name", STRANGE)
def test_types_of_any_name(name, watched):
    """The same numbers as with plain names, and no parameter for two types."""
    nodes, kinds = STRANGE[name]
    to_plain = {node: f"n{place}" for place, node in enumerate(nodes)}
    plain_kinds = [(to_plain[source], f"e{place}", to_plain[target]) for place, (source, _, target) in enumerate(kinds)]
    options = {"heads": 2, "project_out": True}
    plain = with_random_biases(
        HeteroGraphAttention(4, 3, (list(to_plain.values()), plain_kinds), edge_dim=2, **options)
    )
    layer = HeteroGraphAttention(
        dict.fromkeys(nodes, 4), 3, (nodes, kinds), edge_dim=dict.fromkeys(kinds, 2), **options
    ).double()
    mine = [parameter for _, parameter in layer.named_parameters()]
    theirs = [parameter for _, parameter in plain.named_parameters()]
    assert [x.shape for x in mine] == [x.shape for x in theirs] and len(layer.relations) == len(kinds)
    with torch.no_grad():
        for one, other in zip(mine, theirs):
            one.copy_(other)
    if watched:
        for relation in layer.relations.values():
            relation.register_message_forward_hook(lambda *_: None)
    x = {node: torch.randn(5, 4, dtype=torch.float64) for node in nodes}
    edges = {kind: random_graph(5, 5, 9) for kind in kinds}
    attr = {kind: torch.randn(edges[kind].size(1), 2, dtype=torch.float64) for kind in kinds}
    out, weights = layer(x, edges, attr, return_attention_weights=True)
    wanted = plain(*(dict(zip(names, given.values())) for names, given in
                     ((to_plain.values(), x), (plain_kinds, edges), (plain_kinds, attr))))  # fmt: skip
    assert {to_plain[kind] for kind in out} == set(wanted) and set(weights) == set(kinds)
    for kind in out:
        torch.testing.assert_close(out[kind], wanted[to_plain[kind]], rtol=1e-12, atol=1e-12)
    again = HeteroGraphAttention(4, 3, (nodes, kinds), edge_dim=2, **options).double()
    again.load_state_dict(layer.state_dict())
    torch.testing.assert_close(again(x, edges, attr), out)


def test_keys_of_plain_names_are_as_they_were():
    """Files of weights stay readable."""
    layer = HeteroGraphAttention(SIZES, 3, METADATA, project_out=True)
    found = {name.rpartition(".")[0] for name in layer.state_dict()}
    assert found == {
        *(f"relations.{'__'.join(kind)}" for kind in METADATA[1]),
        *(f"lin_query.lins.{kind}" for kind in ("author", "paper")),
        *(f"{name}.lins.{kind}" for kind in TYPES for name in ("lin_key", "lin_value")),
        *(f"lin_out.lins.{kind}" for kind in ("author", "paper")),
    }


def test_types_named_twice_count_once():
    layer = with_random_biases(HeteroGraphAttention(SIZES, 3, ([*TYPES, TYPES[0]], [*METADATA[1], CITES])))
    x, edge_index = features(), edges()
    wanted = by_loops(layer, x, edge_index)
    for kind, out in layer(x, edge_index).items():
        torch.testing.assert_close(out, wanted[kind], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("metadata", [([0, 1], [(0, "to", 1)]), (["a"], [("a", "a")]), (["a"], [("a", 1, "a")])])
def test_types_that_are_no_names(metadata):
    with pytest.raises(TypeError, match="types of (nodes|edges) must be .*HeteroData.metadata"):
        HeteroGraphAttention(4, 3, metadata)


class Two(torch.nn.Module):
    """Two layers for `to_hetero`."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


LAYERS = {
    "GraphAttention": lambda: GraphAttention((-1, -1), 4, heads=2),
    "gatv2 score": lambda: GraphAttention((-1, -1), 4, heads=2, score="gatv2", gate=True),
    "TransformerConv": lambda: nn.TransformerConv((-1, -1), 4, heads=2),
    "GATConv": lambda: nn.GATConv((-1, -1), 4, heads=2, add_self_loops=False),
    "GATv2Conv": lambda: nn.GATv2Conv((-1, -1), 4, heads=2, add_self_loops=False),
    "accelerated": lambda: pyg.TransformerConv((-1, -1), 4, heads=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_to_hetero_adds_up_one_layer_for_each_relation(name):
    metadata = ["author", "paper"], [WRITES, CITES, LISTS]
    model = to_hetero(Two(LAYERS[name](), LAYERS[name]()), metadata, aggr="sum").double()
    x = {kind: features()[kind] for kind in metadata[0]}
    edge_index = edges(metadata[1])
    model(x, edge_index)  # finds the sizes out
    if name == "accelerated":
        assert len(accelerate(model).swapped) == 6
    out = model(x, edge_index)
    for step in (model.first, model.second):
        results = {kind: 0 for kind in metadata[0]}
        for kind, pairs in edge_index.items():
            results[kind[2]] = results[kind[2]] + step["__".join(kind)]((x[kind[0]], x[kind[2]]), pairs)
        x = {kind: result.relu() if step is model.first else result for kind, result in results.items()}
    for kind in metadata[0]:
        torch.testing.assert_close(out[kind], x[kind], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: HeteroGraphAttention(4, 4, (["a"], [("a", "to", "b")])), r"need nodes of type 'b' .got \['a'\]"),
        (lambda: HeteroGraphAttention(4, 4, (["a"], [])), "at least one type of edges"),
        (lambda: HeteroGraphAttention({"author": 5}, 4, METADATA), r"got none for \['paper', 'venue'\]"),
        (
            lambda: HeteroGraphAttention(4, 4, METADATA, edge_dim={("x", "y", "z"): 2}),
            "'edge_dim' has types .*'x', 'y'",
        ),
        (lambda: HeteroGraphAttention(4, 4, METADATA, edge_dim=0), "'edge_dim' must be a positive int .got 0"),
        (lambda: HeteroGraphAttention(4, 4, METADATA, heads=3, kv_heads=2), "multiple of 'kv_heads'"),
        (lambda: HeteroGraphAttention(4, 4, METADATA, score="gat"), "'score' must be one of .*'gat'"),
        (lambda: fresh()(features() | {"x": torch.zeros(1, 2)}, edges()), r"'x_dict' has types .*got \['x'\]"),
        (lambda: fresh()(features(), {("a", "b", "c"): edges()[WRITES]}), "'graph_dict' has types"),
        (lambda: fresh()({"paper": features()["paper"]}, edges([WRITES])), "need nodes of type 'author'"),
        (lambda: fresh()(features(), edges(), {WRITES: torch.zeros(20, 2)}), r"go together .got \[20, 2\] for edges"),
        (lambda: fresh(edge_dim={WRITES: 2})(features(), edges()), "go together .got None for edges"),
        (
            lambda: fresh(edge_dim={WRITES: 2})(features(), edges(), {WRITES: torch.zeros(19, 2)}),
            r"\[20, 2\].*got \[19, 2\]",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def fresh(**options):
    return HeteroGraphAttention(SIZES, 3, METADATA, **options).double()


def test_repr():
    assert str(fresh(heads=2)) == "HeteroGraphAttention(3, heads=2, node_types=3, edge_types=4)"
