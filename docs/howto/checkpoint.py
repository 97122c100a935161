"""A run on one graph that goes on where it was cut off, on any number of processes: torchrun checkpoint.py folder [epochs]"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.nn.parallel import DistributedDataParallel

from graphattn import BandedGraph
from graphattn.distributed import mean_of_all, shard
from graphattn.nn import GraphTransformer


def start_processes():
    """The store outlives processes that are started again: what dead ones said of themselves stays under another name."""
    store, rank, size = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", store=store, rank=rank, world_size=size)


def content(model, optimizer):
    weights, state = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": state}


def save(folder, model, optimizer, epochs):  # every process calls it
    checkpoint.save(content(model, optimizer), checkpoint_id=folder / f"epoch_{epochs}")
    if dist.get_rank() == 0:  # named when the whole of it is on disk
        (folder / "last.tmp").write_text(str(epochs))
        (folder / "last.tmp").replace(folder / "last")


def load(folder, model, optimizer):
    """The epochs that are done."""
    if not (folder / "last").exists():
        return 0
    epochs, saved = int((folder / "last").read_text()), content(model, optimizer)
    checkpoint.load(saved, checkpoint_id=folder / f"epoch_{epochs}")
    set_state_dict(model, optimizer, model_state_dict=saved["model"], optim_state_dict=saved["optimizer"])
    return epochs


start_processes()
folder, epochs = Path(sys.argv[1]), int((*sys.argv, 6)[2])
torch.manual_seed(0)  # the same nodes and weights everywhere
x, y = torch.randn(400, 16), torch.arange(400) // 100
graph = shard(BandedGraph(400, 3, 3), timeout=60)  # how long one waits for a process that is gone
x, y = x[graph.rows], y[graph.rows]
model = DistributedDataParallel(GraphTransformer(16, num_layers=2, heads=4, attention_dropout=0.1))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
first = load(folder, model, optimizer)
for epoch in range(first, epochs):
    torch.manual_seed(epoch)  # an epoch draws what it would draw in a run that was not cut off
    losses = torch.nn.functional.cross_entropy(model(x, graph), y, reduction="none")
    loss = mean_of_all(losses, graph)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    save(folder, model, optimizer, epoch + 1)
    if dist.get_rank() == 0:
        print(f"{dist.get_world_size()} processes, epoch {epoch + 1}: loss {loss:.4f}", flush=True)
dist.barrier()  # nobody leaves before the last is ready
dist.destroy_process_group()
