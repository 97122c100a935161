import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

pytest.importorskip("yacs", reason="GraphGym needs yacs")

from torch_geometric.graphgym.config import cfg, set_cfg
from torch_geometric.graphgym.models import head  # noqa: F401  (GraphGym registers its heads there)
from torch_geometric.graphgym.models.gnn import GNN
from torch_geometric.graphgym.models.layer import GeneralLayer, new_layer_config
from torch_geometric.graphgym.register import layer_dict

import graphattn.graphgym
from graphattn import causal

NAMES = ["graphattn", "graphattn_gat", "graphattn_gatv2", "graphattn_transformer"]


@pytest.fixture
def settings():
    set_cfg(cfg)
    cfg.dataset.node_encoder = cfg.dataset.edge_encoder = False
    cfg.dataset.task, cfg.model.edge_decoding, cfg.gnn.layers_pre_mp = "node", "dot", 1
    cfg.gnn.head = "node"
    cfg.share.dim_in, cfg.share.dim_out = 8, 3
    return cfg


def batch():
    torch.manual_seed(0)
    examples = [Data(x=torch.randn(n, 8), edge_index=torch.randint(n, (2, 9)), y=torch.zeros(n).long()) for n in (4, 5)]
    return next(iter(DataLoader(examples, batch_size=2)))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_by_its_name(name, settings):
    settings.gnn.layer_type, settings.gnn.layers_mp = name, 2
    model = GNN(8, 3).eval()
    assert sum(type(module) is graphattn.graphgym.LAYERS[name] for module in model.modules()) == 2
    data = batch()
    data.split, data.train_mask = "train", torch.ones(9, dtype=torch.bool)
    out, _ = model(data)
    out.square().sum().backward()
    assert out.shape == (9, 3) and all(x.grad is not None for x in model.mp.parameters())


def test_the_numbers_are_those_of_graphgyms_layer(settings):
    config = new_layer_config(8, 3, 1, has_act=False, has_bias=True, cfg=settings)
    one, other = layer_dict["graphattn_gat"](config), layer_dict["gatconv"](config)
    one.load_state_dict(other.state_dict())
    torch.testing.assert_close(one(batch()).x, other(batch()).x)


def test_a_graph_of_the_batch_is_seen(settings):
    config = new_layer_config(8, 3, 1, has_act=False, has_bias=True, cfg=settings)
    layer = GeneralLayer("graphattn", config, heads=2, concat=False)
    examples = [Data(x=torch.randn(n, 8), graph=causal(n)) for n in (3, 4)]
    data = next(iter(DataLoader(examples, batch_size=2)))
    before = data.x.clone()
    wanted = layer.layer.model(before, causal([3, 4]))
    torch.testing.assert_close(layer.layer(data).x, wanted)
