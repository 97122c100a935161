import pytest
import torch
from torch_geometric.explain.algorithm.utils import clear_masks, set_hetero_masks

from graphattn.formulas.scores import Dot
from graphattn.nn import HeteroGraphAttention
from graphattn.nn.relation import Relation, mapped
from tests.nn.peer import random_graph


def test_scores_and_messages_edge_by_edge():
    torch.manual_seed(0)
    relation = Relation(heads=2, kv_heads=2, channels=3, edge_dim=4).double()
    torch.nn.init.normal_(relation.bias)
    query, key, value = (torch.randn(n, 2, 3, dtype=torch.float64) for n in (5, 7, 7))
    edge_index = random_graph(7, 5, 9)
    edge_attr = torch.randn(edge_index.size(1), 4, dtype=torch.float64)
    alpha = torch.randn(edge_index.size(1), 2, dtype=torch.float64)
    scores = relation.scores(query, key, edge_index, edge_attr, Dot(), 0.3)
    out = relation(value, alpha, edge_index, edge_attr, 5)
    wanted = torch.zeros(5, 2, 3, dtype=torch.float64)
    for place, (source, target) in enumerate(edge_index.t().tolist()):
        edge = (relation.lin_edge.weight @ edge_attr[place]).view(2, 3)
        for head in range(2):
            score = 0.3 * query[target, head] @ (key[source, head] + edge[head]) + relation.bias[head]
            torch.testing.assert_close(scores[place, head], score)
            wanted[target, head] += alpha[place, head] * (value[source, head] + edge[head])
    torch.testing.assert_close(out, wanted)


def test_each_head_has_its_own_map():
    torch.manual_seed(0)
    x, weight = torch.randn(4, 2, 3), torch.randn(2, 3, 3)
    torch.testing.assert_close(mapped(x, weight)[1, 1], x[1, 1] @ weight[1])
    assert mapped(x, None) is x


@pytest.mark.parametrize("name", ["to", "to.be", "b__to"])  # b__b__to__b is then another type as well
def test_explainers_find_a_mask_for_each_relation(name):
    torch.manual_seed(0)
    kinds = [("a", "to", "b"), ("b", name, "b")]
    extra = [("b__b", "to", "b")]
    layer = HeteroGraphAttention(4, 3, (["a", "b", "b__b"], kinds + extra)).double()
    x = {"a": torch.randn(5, 4).double(), "b": torch.randn(6, 4).double()}
    edges = {kind: random_graph(len(x[kind[0]]), 6, 12) for kind in kinds}
    plain = layer(x, edges)["b"]
    masks = {kind: torch.zeros(pairs.size(1)) for kind, pairs in edges.items()}
    masks[kinds[1]] = torch.ones(edges[kinds[1]].size(1))
    set_hetero_masks(layer, masks, edges, apply_sigmoid=False)
    masked = layer(x, edges)["b"]
    clear_masks(layer)
    _, weights = layer(x, edges, return_attention_weights=True)
    pairs, alpha = weights[kinds[1]]
    value = mapped(layer.lin_value(x)["b"].unflatten(-1, (1, 3)), layer.relations[kinds[1]].value_map)
    wanted = torch.zeros(6, 1, 3).double().index_add(0, pairs[1], alpha[..., None] * value[pairs[0]])
    torch.testing.assert_close(masked, wanted.flatten(1))
    torch.testing.assert_close(layer(x, edges)["b"], plain)
