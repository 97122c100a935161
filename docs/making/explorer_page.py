"""The page of attention that the site shows: a small model that has learned the toy sentences, a sound, and the karate club."""

import networkx
import torch
from torch_geometric.loader import DataLoader

from graphattn.datasets import ToySentences, ToySounds
from graphattn.inputs import from_network
from graphattn.nn import GATConv, GraphTransformer, MeanReadout, SinusoidalPositions, TokenEmbedding
from graphattn.viz import explore, join_pages


class Reader(torch.nn.Module):
    """Words -> scores of classes."""

    def __init__(self, num_words: int):
        super().__init__()
        self.embed, self.layers = TokenEmbedding(num_words, 32), GraphTransformer(32, 2, heads=4, norm_first=True)
        self.end = torch.nn.Linear(32, 2)

    def forward(self, batch):
        x = self.layers(self.embed(batch.x, batch.pos.flatten()), batch.graph)
        return self.end(MeanReadout()(x, batch.graph))


class Listener(torch.nn.Module):
    """Frames -> scores of classes."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.start, self.layers = torch.nn.Linear(40, 32), GraphTransformer(32, 2, heads=4, norm_first=True)
        self.positions, self.end = SinusoidalPositions(32, max_period=100), torch.nn.Linear(32, num_classes)

    def forward(self, batch):
        x = self.layers(self.start(batch.x) + self.positions(batch.pos / 0.01), batch.graph)
        return self.end(MeanReadout()(x, batch.graph))


def learn(model: torch.nn.Module, examples: list, epochs: int) -> torch.nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in DataLoader(examples, batch_size=32, shuffle=True):
            loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def make() -> str:
    """The page, as text."""
    torch.manual_seed(0)
    train, test = ToySentences("train"), ToySentences("test")
    sentence = next(data for data in test if "not" in data.tokens and data.num_nodes <= 10)
    reader = learn(Reader(len(train.vocabulary)), list(train), 30)
    pages = [explore(reader, {"a sentence: every word sees every word": sentence}, classes=["blame", "praise"])]
    sound = ToySounds("test", keep_waveform=True)[0]
    listener = learn(Listener(4), list(ToySounds("train")), 4)
    pages.append(explore(listener, {"a sound: a band": sound}, classes=list(ToySounds.classes)))
    club = from_network(networkx.karate_club_graph(), features="identity", node_features=(), edge_features=())
    club.y = torch.tensor([int(side == "Officer") for _, side in networkx.karate_club_graph().nodes(data="club")])
    pages.append(explore(GATConv(34, 8, heads=4), {"a network: its friendships (untrained)": club}))
    return join_pages(pages, "whom does it attend to?").html()
