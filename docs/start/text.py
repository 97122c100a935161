"""Sentences from reviews.csv (text, label): a word sees every word. Praise or blame?"""

import csv

import torch
from torch_geometric.loader import DataLoader

from graphattn.inputs import Vocabulary, from_text
from graphattn.nn import GraphTransformer, MeanReadout, TokenEmbedding

rows = list(csv.DictReader(open("reviews.csv", encoding="utf-8")))
vocabulary = Vocabulary.from_sentences(row["text"] for row in rows)
examples = [from_text(row["text"], vocabulary) for row in rows]
for data, row in zip(examples, rows):
    data.y = torch.tensor([int(row["label"])])
train, test = examples[50:], examples[:50]

torch.manual_seed(0)
embed, layers, end = (
    TokenEmbedding(len(vocabulary), 32),
    GraphTransformer(32, 2, heads=4, norm_first=True),
    torch.nn.Linear(32, 2),
)
model = torch.nn.ModuleList([embed, layers, end])
forward = lambda batch: end(MeanReadout()(layers(embed(batch.x, batch.pos.flatten()), batch.graph), batch.graph))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(30):
    for batch in DataLoader(train, batch_size=32, shuffle=True):  # no padding: sentences are laid end to end
        loss = torch.nn.functional.cross_entropy(forward(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
batch = next(iter(DataLoader(test, batch_size=len(test))))
print(f"{100 * (forward(batch).argmax(1) == batch.y).float().mean():.0f} % of {len(test)} new sentences are right")
