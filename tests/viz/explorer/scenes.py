"""A model and an input for every scene, and the numbers that the page must say, by plain loops."""

import math

import networkx
import torch
from torch_geometric.data import Data

from graphattn import BandedGraph, CompleteGraph, causal
from graphattn.explain import attention_of
from graphattn.inputs import from_image, from_network, from_smiles, from_text, from_waveform
from graphattn.nn import AttentionReadout, ClassNode, EncoderLayer, GATConv, GraphTransformer, LanguageModel, Seq2Seq
from graphattn.viz import explore


class Classifier(torch.nn.Module):
    """One score for each class of an input."""

    def __init__(self, in_channels, num_classes, **options):
        super().__init__()
        self.start = torch.nn.Linear(in_channels, 16)
        self.layers = GraphTransformer(16, 2, heads=4, **options)
        self.end = torch.nn.Linear(16, num_classes)
        torch.nn.init.normal_(self.start.weight, std=1.5)  # so that heads differ

    def forward(self, x, graph, edge_attr=None):
        return self.end(self.layers(self.start(x), graph, edge_attr).mean(0, keepdim=True))


class Pooled(torch.nn.Module):
    """A class node, a layer, learned queries."""

    def __init__(self, in_channels):
        super().__init__()
        self.start, self.node = torch.nn.Linear(in_channels, 16), ClassNode(16)
        self.layer, self.read = EncoderLayer(16, 4), AttentionReadout(16, 4, 2)

    def forward(self, x, graph):
        x, graph = self.node(self.start(x), graph)
        return self.read(self.layer(x, graph), graph)


def words():
    data = from_text(
        "the animal did not cross the street because it was too </script> tired <b>",
        graph=lambda n: BandedGraph(n, 4, 2),
    )
    data.x, data.y = torch.randn(data.num_nodes, 8), torch.tensor([1])
    return {"model": Classifier(8, 2), "data": data, "classes": ["bad", "good"]}


def image():
    pixels = torch.rand(3, 20, 28)
    data = from_image(pixels, patch=4, reach=1)
    data.image = pixels
    return {"model": Classifier(48, 3), "data": data}


def sound():
    wave = torch.sin(2 * math.pi * torch.cumsum(torch.linspace(300, 900, 4000), 0) / 8000) / 2
    data = from_waveform(wave, 8000)
    data.waveform = wave
    return {"model": Classifier(40, 3), "data": data}


def molecule():
    data = from_smiles("CC(=O)Oc1ccccc1C(=O)O")
    return {"model": Classifier(data.x.size(1), 1, edge_dim=data.edge_attr.size(1)), "data": data}


def network():
    data = from_network(networkx.karate_club_graph(), features="identity", node_features=(), edge_features=())
    return {"model": GATConv(34, 2, heads=4, concat=False), "data": data, "classes": ["one", "other"]}


def translation():
    data = Data(source=torch.randint(30, (7,)), target=torch.randint(40, (9,)), source_graph=CompleteGraph(7))
    data.target_graph, data.num_nodes = causal(9), 9
    data.tokens, data.source_tokens = [f"t{node}" for node in range(9)], [f"s{node}" for node in range(7)]
    return {"model": Seq2Seq(30, 40, channels=16, num_layers=1, heads=2), "data": data}


def writing():
    data = Data(x=torch.randint(50, (12,)), graph=causal(12), prompt=3)
    data.tokens = [f"w{number}" for number in data.x.tolist()]
    return {"model": LanguageModel(50, 16, 2, heads=4), "data": data, "classes": [f"w{number}" for number in range(50)]}


def pooled():
    data = from_image(torch.rand(12, 12), patch=4)
    return {"model": Pooled(16), "data": data}


SCENES = {scene.__name__: scene for scene in (words, image, sound, molecule, network, translation, writing, pooled)}


def build(name, path):
    """The page of a scene, and what it was made of."""
    torch.manual_seed(0)
    scene = SCENES[name]()
    scene["model"].eval()
    scene["page"] = explore(path=path, title=name, **scene)
    return scene


def arguments(scene):
    """What the models are called with, written out."""
    data, model = scene["data"], scene["model"]
    if isinstance(model, Seq2Seq):
        return data.source, data.target, data.source_graph, data.target_graph
    if isinstance(model, GATConv):
        return data.x, data.edge_index
    return (data.x, data.graph) if data.edge_attr is None else (data.x, data.graph, data.edge_attr)


def weights_of(scene):
    """[(layer name, head, {(query, key): weight})] by loops over the edges of every layer, in the order of the page."""
    found = []
    for name, (edge_index, weights) in attention_of(scene["model"], *arguments(scene)).items():
        for head in range(weights.size(1)):
            table = {}
            for edge in range(edge_index.size(1)):
                pair = int(edge_index[1, edge]), int(edge_index[0, edge])
                table[pair] = table.get(pair, 0.0) + float(weights[edge, head])
            found.append((name, head, table))
    return found
