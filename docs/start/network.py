"""A network: edges.csv (source, target) and nodes.csv (node, label, known). Which side is everyone on?"""

import csv

import networkx
import torch

from graphattn.inputs import from_network
from graphattn.nn import GATConv
from graphattn.viz import explore

nodes = list(csv.DictReader(open("nodes.csv")))
network = networkx.Graph()
network.add_nodes_from(row["node"] for row in nodes)
network.add_edges_from((row["source"], row["target"]) for row in csv.DictReader(open("edges.csv")))
data = from_network(network, features="identity")  # x says who it is; or pass x=..., features of your own
data.y = torch.tensor([int(row["label"]) for row in nodes])
known = torch.tensor([row["known"] == "1" for row in nodes])


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = GATConv(data.num_features, 8, heads=4), GATConv(32, 2)  # PyG's, many times as fast

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


torch.manual_seed(0)
model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for _ in range(60):
    scores = model(data.x, data.edge_index)
    loss = torch.nn.functional.cross_entropy(scores[known], data.y[known])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"{100 * (scores.argmax(1) == data.y)[~known].float().mean():.0f} % of the others are right")
names = list(network)
explore(model, data, "network.html", classes=["one", "other"], labels=names)  # a page: whom does each attend to?
