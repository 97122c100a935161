"""Small made-up data for every recipe: what is to be learned is not told by single nodes."""

import random

import torch
from torch_geometric.data import Data
from torch_geometric.utils import coalesce, remove_self_loops, to_undirected

from graphattn.inputs import from_text, from_waveform

LETTERS = {"a": "AA", "e": "EH", "b": "B", "d": "D", "s": "S", "h": "HH"}


def network(num_nodes=120, num_classes=3, num_features=12, noise=1.0, inside=0.7, seed=0) -> Data:
    """A share of the edges inside of classes, the others anywhere; noisy features."""
    chance = torch.Generator().manual_seed(seed)
    y = torch.arange(num_nodes) % num_classes
    x = torch.randn(num_classes, num_features, generator=chance)[y]
    x = x + noise * torch.randn(num_nodes, num_features, generator=chance)
    source = torch.randint(num_nodes, (3 * num_nodes,), generator=chance)
    step = num_classes * torch.randint(1, num_nodes // num_classes, source.shape, generator=chance)
    anywhere = torch.randint(num_nodes, source.shape, generator=chance)
    same = torch.rand(source.shape, generator=chance) < inside
    target = torch.where(same, (source + step) % num_nodes, anywhere)
    edges = remove_self_loops(torch.stack([source, target]))[0]
    edge_index = coalesce(to_undirected(edges, num_nodes=num_nodes))
    place = torch.rand(num_nodes, generator=chance)
    masks = {"train_mask": place < 0.5, "val_mask": (place >= 0.5) & (place < 0.75), "test_mask": place >= 0.75}
    return Data(x, edge_index, y=y, **masks)


def levels(**options) -> Data:
    """A network with a number for each node, unknown outside of its masks."""
    data = network(**options)
    known = torch.arange(data.num_nodes) % 10 != 0
    data.y = torch.where(known, 1000.0 + 10.0 * data.y, torch.nan).double()
    for name in ("train_mask", "val_mask", "test_mask"):
        data[name] = data[name] & known
    return data


def ring_or_star(is_ring: bool, num_nodes: int) -> torch.Tensor:
    nodes = torch.arange(num_nodes)
    edges = torch.stack([nodes, nodes.roll(-1)]) if is_ring else torch.stack([torch.zeros_like(nodes[1:]), nodes[1:]])
    return torch.cat([edges, edges.flip(0)], 1)


def graphs(count=100, seed=0) -> list[Data]:
    """Rings and stars of 5 to 9 nodes, with features that say nothing and edges that say a little."""
    chance = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        num_nodes = 5 + number // 2 % 5
        edges = ring_or_star(number % 2 == 0, num_nodes)
        x = torch.randn(num_nodes, 3, generator=chance)
        found.append(Data(x, edges, edge_attr=torch.ones(edges.size(1), 2), y=torch.tensor([number % 2])))
    return found


def numbers(count=100) -> list[Data]:
    """Rings whose number is that of their nodes, of 3 to 12, times ten."""
    found = []
    for number in range(count):
        num_nodes = 3 + number % 10
        x = torch.ones(num_nodes, 2)
        found.append(Data(x, ring_or_star(True, num_nodes), y=torch.tensor([10.0 * num_nodes])))
    return found


def reviews(count=120, seed=0) -> list[Data]:
    """'not good' is bad and 'not bad' is good."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        word, negated = chance.choice(["good", "bad"]), number % 2
        text = ["the", chance.choice(["film", "song", "soup", "plot"]), "was", *["not"] * negated, word]
        data = from_text(text + ["and", "that", "is", "it"][: chance.randint(0, 4)], tokenized=True)
        data.y = torch.tensor([int((word == "good") != bool(negated))])
        found.append(data)
    return found


def sounds(count=100, seed=0) -> list[Data]:
    """Tones that rise (1) or fall (0), of the same pitches."""
    chance = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        pitch = torch.linspace(500, 2500, 1600, dtype=torch.float64)
        pitch = pitch if number % 2 else pitch.flip(0)
        wave = torch.sin(2 * torch.pi * pitch.cumsum(0) / 8000) + 0.02 * torch.randn(1600, generator=chance)
        data = from_waveform(wave, 8000, num_mels=16)
        data.y = torch.tensor([number % 2])
        found.append(data)
    return found


def sentences(count=120, seed=0) -> list[Data]:
    """The tag of a word depends on the word before it: 0 the, 1 a noun, 2 they, 3 a verb."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        words, tags = [], []
        for _ in range(chance.randint(1, 4)):
            first = chance.choice(["the", "they"])
            words += [first, chance.choice(["walk", "run", "look", "play", "call", "stop"])]
            tags += [0, 1] if first == "the" else [2, 3]
        data = from_text(words, tokenized=True)
        data.y = torch.tensor(tags)
        found.append(data)
    return found


def spellings(count=150, seed=0) -> list[tuple[str, str]]:
    """Words of a language of six letters, and how they are spoken: "sh" is one sound."""
    chance = random.Random(seed)
    words = sorted({"".join(chance.choices("aebdsh", k=chance.randint(2, 5))) for _ in range(3 * count)})[:count]
    found = []
    for word in words:
        sounds = [LETTERS[letter] for letter in word.replace("sh", "")] if "sh" not in word else None
        if sounds is None:
            sounds, place = [], 0
            while place < len(word):
                is_pair = word[place : place + 2] == "sh"
                sounds.append("SH" if is_pair else LETTERS[word[place]])
                place += 2 if is_pair else 1
        found.append((word, " ".join(sounds)))
    return found


def countings(count=100, seed=0) -> list[str]:
    """Days of the week, in their order, from any of them on."""
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    chance = random.Random(seed)
    starts = [chance.randrange(7) for _ in range(count)]
    return [" ".join(days[(start + step) % 7] for step in range(chance.randint(3, 9))) for start in starts]
