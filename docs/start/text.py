"""Sentences from reviews.csv (text, label): a word sees every word. Praise or blame?"""

import csv

import torch
from torch_geometric.loader import DataLoader

from graphattn.inputs import Vocabulary, from_text
from graphattn.nn import GraphTransformer, MeanReadout, RotaryPositions, TokenEmbedding
from graphattn.viz import explore

rows = list(csv.DictReader(open("reviews.csv", encoding="utf-8")))
classes = sorted({row["label"] for row in rows})
vocabulary = Vocabulary.from_sentences(row["text"] for row in rows)
examples = [from_text(row["text"], vocabulary) for row in rows]
for data, row in zip(examples, rows):
    data.y = torch.tensor([classes.index(row["label"])])
torch.manual_seed(0)
train, test = torch.utils.data.random_split(examples, [0.8, 0.2])  # files are often sorted by label


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.end = TokenEmbedding(len(vocabulary), 32), torch.nn.Linear(32, len(classes))
        self.layers = GraphTransformer(32, 2, heads=4, norm_first=True, positions=RotaryPositions(8))

    def forward(self, batch):
        x = self.layers(self.embed(batch.x, batch.pos.flatten()), batch.graph)
        return self.end(MeanReadout()(x, batch.graph))


model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(30):
    for batch in DataLoader(train, batch_size=32, shuffle=True):  # no padding: sentences are laid end to end
        loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
batch = next(iter(DataLoader(test, batch_size=len(test))))
print(f"{100 * (model(batch).argmax(1) == batch.y).float().mean():.0f} % of {len(test)} new sentences are right")
explore(model, test[0], "text.html", classes=classes)  # a page: whom does a word attend to?
