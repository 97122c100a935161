"""Molecules from molecules.csv (smiles, target): an atom sees those bound to it. What is the target?"""

import csv

import torch
from torch_geometric.loader import DataLoader

from graphattn.inputs import from_smiles
from graphattn.nn import GraphTransformer, MeanReadout

rows = list(csv.DictReader(open("molecules.csv")))
examples = [from_smiles(row["smiles"]) for row in rows]  # x: atoms, edge_attr: bonds
for data, row in zip(examples, rows):
    data.y = torch.tensor([float(row["target"])])
train, test = examples[20:], examples[:20]

torch.manual_seed(0)
start, end = torch.nn.Linear(examples[0].num_features, 32), torch.nn.Linear(32, 1)
layers = GraphTransformer(32, 3, heads=4, norm_first=True, edge_dim=examples[0].edge_attr.size(1))
model = torch.nn.ModuleList([start, layers, end])
read = lambda batch: end(MeanReadout()(layers(start(batch.x), batch.graph, batch.edge_attr), batch.graph)).flatten()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(40):
    for batch in DataLoader(train, batch_size=16, shuffle=True):
        loss = torch.nn.functional.mse_loss(read(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
batch = next(iter(DataLoader(test, batch_size=len(test))))
print(f"root mean squared error of {len(test)} new molecules: {(read(batch) - batch.y).square().mean().sqrt():.2f}")
