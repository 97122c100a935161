"""Recordings in folders named by their class, recordings/CLASS/*.wav: a frame sees those near it. Which class?"""

from pathlib import Path

import torch
from torch_geometric.loader import DataLoader

from graphattn.inputs import from_wav
from graphattn.nn import GraphTransformer, MeanReadout, SinusoidalPositions

paths = sorted(Path("recordings").glob("*/*.wav"), key=lambda path: path.stem)
classes = sorted({path.parent.name for path in paths})
examples = [from_wav(path, before=8, after=8, normalize=True) for path in paths]  # 8 frames = 80 ms to either side
for data, path in zip(examples, paths):
    data.y = torch.tensor([classes.index(path.parent.name)])
train, test = examples[100:], examples[:100]

torch.manual_seed(0)
start, layers, end = (
    torch.nn.Linear(40, 32),
    GraphTransformer(32, 2, heads=4, norm_first=True),
    torch.nn.Linear(32, len(classes)),
)
model, positions = torch.nn.ModuleList([start, layers, end]), SinusoidalPositions(32, max_period=100)
hear = lambda batch: layers(start(batch.x) + positions(batch.pos / 0.01), batch.graph)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(20):
    for batch in DataLoader(train, batch_size=32, shuffle=True):
        loss = torch.nn.functional.cross_entropy(end(MeanReadout()(hear(batch), batch.graph)), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
batch = next(iter(DataLoader(test, batch_size=len(test))))
right = end(MeanReadout()(hear(batch), batch.graph)).argmax(1) == batch.y
print(f"{100 * right.float().mean():.0f} % of {len(test)} new recordings are right")
