"""Many examples, many processes: each takes its own batches, and their gradients are averaged. python ddp.py, or by torchrun."""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler
from torch_geometric.loader import DataLoader

from graphattn.datasets import ToySounds
from graphattn.nn import GraphTransformer, MeanReadout, SinusoidalPositions


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.positions = torch.nn.Linear(40, 32), SinusoidalPositions(32, max_period=100)
        self.layers, self.end = GraphTransformer(32, 2, heads=4, norm_first=True), torch.nn.Linear(32, 4)

    def forward(self, batch):
        x = self.start(batch.x) + self.positions(batch.pos / 0.01)
        return self.end(MeanReadout()(self.layers(x, batch.graph), batch.graph))


if "RANK" in os.environ:  # torchrun has started this process
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
else:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
torch.manual_seed(0)  # the same weights everywhere
train, test = ToySounds("train"), ToySounds("test")
model = DistributedDataParallel(Model())
sampler = DistributedSampler(train)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(6):
    sampler.set_epoch(epoch)
    for batch in DataLoader(train, batch_size=16, sampler=sampler):
        loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
if dist.get_rank() == 0:
    batch = next(iter(DataLoader(test, batch_size=len(test))))
    right = model.module.eval()(batch).argmax(1) == batch.y
    print(f"{dist.get_world_size()} processes: {100 * right.float().mean():.0f} % of {len(test)} new sounds are right")
dist.barrier()  # nobody leaves before the last is ready
dist.destroy_process_group()
