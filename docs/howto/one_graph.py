"""One graph, many processes: each owns some nodes, and the numbers are those of one. python one_graph.py, or by torchrun."""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.utils import stochastic_blockmodel_graph

from graphattn import EdgeListGraph
from graphattn.distributed import mean_of_all, shard
from graphattn.nn import GraphTransformer


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.end = torch.nn.Linear(8, 32), torch.nn.Linear(32, 4)
        self.layers = GraphTransformer(32, num_layers=2, heads=4, norm_first=True)

    def forward(self, x, graph):
        return self.end(self.layers(self.start(x), graph))


if "RANK" in os.environ:  # torchrun has started this process
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
else:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
torch.manual_seed(0)  # the same graph and weights everywhere
y = torch.arange(4).repeat_interleave(100)  # four groups of friends, of whom little is known
edge_index = stochastic_blockmodel_graph([100] * 4, torch.full((4, 4), 0.01).fill_diagonal_(0.08))
x, known = torch.nn.functional.one_hot(y, 8) + torch.randn(400, 8), torch.rand(400) < 0.5
graph = shard(EdgeListGraph(edge_index, 400))  # every process calls it
x, y, known = x[graph.rows], y[graph.rows], known[graph.rows]  # own nodes only
model = DistributedDataParallel(Model())
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(30):
    losses = torch.nn.functional.cross_entropy(model(x, graph)[known], y[known], reduction="none")
    loss = mean_of_all(losses, graph)  # over the nodes of all
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
right = mean_of_all((model(x, graph).argmax(1) == y)[~known].float(), graph)
if dist.get_rank() == 0:
    print(f"{dist.get_world_size()} processes: loss {loss:.4f}, {100 * right:.0f} % of the others are right")
dist.barrier()  # nobody leaves before the last is ready
dist.destroy_process_group()
