"""The page of attention that Ideas shows: small models, each trained for seconds on one of the five kinds of input."""

from pathlib import Path

import torch
from torch_geometric.datasets import KarateClub
from torch_geometric.loader import DataLoader

from graphattn.datasets import Digits, ToyMolecules, ToySentences, ToySounds
from graphattn.nn import GATConv, GraphTransformer, MeanReadout, SinusoidalPositions, TokenEmbedding
from graphattn.viz import Page, explore, join_pages

PATH = Path(__file__).parents[1] / "explorer.html"


class Reader(torch.nn.Module):
    """Words -> scores of classes."""

    def __init__(self, num_words: int):
        super().__init__()
        self.embed, self.layers = TokenEmbedding(num_words, 32), GraphTransformer(32, 2, heads=4, norm_first=True)
        self.end = torch.nn.Linear(32, 2)

    def forward(self, batch):
        x = self.layers(self.embed(batch.x, batch.pos.flatten()), batch.graph)
        return self.end(MeanReadout()(x, batch.graph))


class Watcher(torch.nn.Module):
    """Frames or patches -> scores of classes. A step of the positions is `unit` long."""

    def __init__(self, num_features: int, num_classes: int, unit: float):
        super().__init__()
        self.start, self.layers = torch.nn.Linear(num_features, 32), GraphTransformer(32, 2, heads=4, norm_first=True)
        self.positions, self.end = SinusoidalPositions(32, max_period=100), torch.nn.Linear(32, num_classes)
        self.unit = unit

    def forward(self, batch):
        x = self.layers(self.start(batch.x) + self.positions(batch.pos / self.unit), batch.graph)
        return self.end(MeanReadout()(x, batch.graph))


class Chemist(torch.nn.Module):
    """Atoms and bonds -> scores of classes."""

    def __init__(self, atoms: int, bonds: int):
        super().__init__()
        self.start, self.end = torch.nn.Linear(atoms, 32), torch.nn.Linear(32, 2)
        self.layers = GraphTransformer(32, 2, heads=4, norm_first=True, edge_dim=bonds)

    def forward(self, batch):
        return self.end(MeanReadout()(self.layers(self.start(batch.x), batch.graph, batch.edge_attr), batch.graph))


class Member(torch.nn.Module):
    """Members of the club -> scores of the four groups, for each of them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = GATConv(34, 8, heads=4), GATConv(32, 4)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


def learn(model: torch.nn.Module, examples: list, epochs: int) -> torch.nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in DataLoader(examples, batch_size=32, shuffle=True):
            loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def learn_network(model: torch.nn.Module, data, epochs: int) -> torch.nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(epochs):
        scores = model(data.x, data.edge_index)
        loss = torch.nn.functional.cross_entropy(scores[data.train_mask], data.y[data.train_mask])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def make(trained: bool = True) -> Page:
    """The page; of models as they are made, in less time, where they need not be trained."""
    torch.manual_seed(0)

    def epochs(count: int) -> int:
        return count if trained else 0

    train, test = ToySentences("train"), ToySentences("test")
    sentence = next(data for data in test if "not" in data.tokens and data.num_nodes <= 10)
    reader = learn(Reader(len(train.vocabulary)), list(train), epochs(30))
    pages = [explore(reader, {"a sentence: every word sees every word": sentence}, classes=["blame", "praise"])]
    sound = ToySounds("test", keep_waveform=True)[0]
    listener = learn(Watcher(40, 4, unit=0.01), list(ToySounds("train")), epochs(4))
    pages.append(explore(listener, {"a sound: a band": sound}, classes=list(ToySounds.classes)))
    digits = Digits("train", patch=2)
    watcher = learn(Watcher(4, 10, unit=1), list(digits), epochs(8))
    pages.append(explore(watcher, {"an image: a grid": Digits("test", patch=2)[3]}, classes=list(Digits.classes)))
    molecules = list(ToyMolecules("train"))
    chemist = learn(Chemist(molecules[0].num_features, molecules[0].edge_attr.size(1)), molecules, epochs(15))
    acid = max(ToyMolecules("test"), key=lambda data: data.num_nodes * int(data.y))
    pages.append(explore(chemist, {"a molecule: its bonds": acid}, classes=list(ToyMolecules.classes)))
    club = KarateClub()[0]
    member = learn_network(Member(), club, epochs(60))
    pages.append(explore(member, {"a network: its friendships": club}, classes=[f"group {i + 1}" for i in range(4)]))
    return join_pages(pages, "whom does it attend to?")


def write() -> None:
    make().save(PATH)
