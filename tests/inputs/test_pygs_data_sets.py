"""A graph as an attribute of Data goes through what PyG keeps and loads data with."""

import warnings

import pytest
import torch
from torch_geometric.data import Data, OnDiskDataset
from torch_geometric.loader import DataLoader

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, as_graph, causal
from graphattn.inputs import from_text
from graphattn.nn import GraphAttention

EDGES = torch.tensor([[0, 1, 2], [1, 2, 0]])
GRAPHS = {
    "complete": lambda n: CompleteGraph(n),
    "causal": lambda n: causal(n),
    "band": lambda n: BandedGraph(n, 1, 2),
    "edges": lambda n: EdgeListGraph(EDGES, n),
}


def example(make, n):
    data = Data(x=torch.full((n, 4), float(n)), y=torch.tensor([float(n)]))
    data.graph = make(n)
    return data


@pytest.mark.parametrize("name", GRAPHS)
def test_on_disk(name, tmp_path):
    dataset = OnDiskDataset(str(tmp_path))
    for n in (3, 4, 5):
        dataset.append(example(GRAPHS[name], n))
    dataset.extend([example(GRAPHS[name], n) for n in (6, 7)])
    dataset.close()
    dataset = OnDiskDataset(str(tmp_path))
    assert len(dataset) == 5
    for n, data in zip((3, 4, 5, 6, 7), (dataset[i] for i in range(5))):
        assert type(data.graph) is type(GRAPHS[name](n))
        assert data.graph.edge_index().tolist() == GRAPHS[name](n).edge_index().tolist()
    batch = next(iter(DataLoader(dataset, batch_size=5)))
    assert as_graph(batch).sizes == tuple((n, n) for n in (3, 4, 5, 6, 7))
    assert GraphAttention(4, 2)(batch.x, batch.graph).shape == (25, 2)


def test_graphs_that_follow_their_edges_on_disk(tmp_path):
    dataset = OnDiskDataset(str(tmp_path))
    dataset.append(from_text("a b c", edge_index=True))
    data = dataset[0]
    data.edge_index = data.edge_index[:, :2]
    assert data.graph.num_edges == 2


class Regression:
    """Made a LightningModule where Lightning is installed."""

    def __init__(self):
        super().__init__()
        self.layer = GraphAttention(4, 1)

    def training_step(self, batch, _):
        out = self.layer(batch.x, batch.graph if "graph" in batch else batch.edge_index)
        return out.square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(datamodule):
    pl = pytest.importorskip("lightning.pytorch", reason="pip install lightning")
    torch.manual_seed(0)
    model = type("Module", (Regression, pl.LightningModule), {})()
    before = model.layer.lin_value.weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(model, datamodule)
    assert not torch.equal(before, model.layer.lin_value.weight)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_lightning_data_set(num_workers):
    pytest.importorskip("lightning.pytorch", reason="pip install lightning")
    from torch_geometric.data.lightning import LightningDataset

    examples = [example(GRAPHS[name], n) for name in ("complete", "causal") for n in (3, 4, 5)]
    fit(LightningDataset(examples[:4], examples[4:], batch_size=2, num_workers=num_workers))


def test_lightning_node_data():
    pytest.importorskip("lightning.pytorch", reason="pip install lightning")
    from torch_geometric.data.lightning import LightningNodeData

    data = Data(x=torch.randn(6, 4), edge_index=torch.randint(6, (2, 20)), y=torch.zeros(6))
    data.train_mask = torch.ones(6, dtype=torch.bool)
    fit(LightningNodeData(data, loader="full", num_workers=0))
