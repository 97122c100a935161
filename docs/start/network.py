"""A network: edges.csv (source, target) and nodes.csv (node, label, known). Which side is everyone on?"""

import csv

import networkx
import torch

from graphattn.inputs import from_network
from graphattn.nn import GATConv

nodes = list(csv.DictReader(open("nodes.csv")))
network = networkx.Graph()
network.add_nodes_from(row["node"] for row in nodes)
network.add_edges_from((row["source"], row["target"]) for row in csv.DictReader(open("edges.csv")))
data = from_network(network, features="identity")  # x says who it is; or pass x=..., features of your own
y = torch.tensor([int(row["label"]) for row in nodes])
known = torch.tensor([row["known"] == "1" for row in nodes])

torch.manual_seed(0)
first, second = GATConv(data.num_features, 8, heads=4), GATConv(32, 2)  # PyG's layers, many times as fast
model = torch.nn.ModuleList([first, second])
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for _ in range(60):
    scores = second(first(data.x, data.edge_index).relu(), data.edge_index)
    loss = torch.nn.functional.cross_entropy(scores[known], y[known])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"{100 * (scores.argmax(1) == y)[~known].float().mean():.0f} % of the others are right")
