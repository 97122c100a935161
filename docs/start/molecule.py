"""Molecules from molecules.csv (smiles, target): an atom sees those bound to it. What is the target?"""

import csv

import torch
from torch_geometric.loader import DataLoader

from graphattn.inputs import from_smiles
from graphattn.nn import GraphTransformer, MeanReadout
from graphattn.viz import explore

rows = list(csv.DictReader(open("molecules.csv", encoding="utf-8")))
examples = [from_smiles(row["smiles"]) for row in rows]  # x: atoms, edge_attr: bonds
for data, row in zip(examples, rows):
    data.y = torch.tensor([float(row["target"])])
torch.manual_seed(0)
train, test = torch.utils.data.random_split(examples, [0.8, 0.2])  # files are often sorted
atoms, bonds = examples[0].num_features, examples[0].edge_attr.size(1)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.end = torch.nn.Linear(atoms, 32), torch.nn.Linear(32, 1)
        self.layers = GraphTransformer(32, 3, heads=4, norm_first=True, edge_dim=bonds)

    def forward(self, batch):
        x = self.layers(self.start(batch.x), batch.graph, batch.edge_attr)
        return self.end(MeanReadout()(x, batch.graph)).flatten()


model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(40):
    for batch in DataLoader(train, batch_size=16, shuffle=True):
        loss = torch.nn.functional.mse_loss(model(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
batch = next(iter(DataLoader(test, batch_size=len(test))))
print(f"root mean squared error of {len(test)} new molecules: {(model(batch) - batch.y).square().mean().sqrt():.2f}")
explore(model, max(test, key=lambda data: data.num_nodes), "molecule.html")  # a page for the browser
