"""Images in folders named by their class, images/CLASS/*.png: a patch sees those around it. Which class?"""

from pathlib import Path

import torch
from PIL import Image
from torch_geometric.loader import DataLoader

from graphattn.inputs import from_image
from graphattn.nn import GraphTransformer, MeanReadout, SinusoidalPositions
from graphattn.viz import explore

paths = sorted(Path("images").glob("*/*.png"))
classes = sorted({path.parent.name for path in paths})
examples = [from_image(Image.open(path), patch=2, reach=1) for path in paths]  # 2 x 2 pixels see 3 x 3 patches
for data, path in zip(examples, paths):
    data.x, data.y = data.x / 255, torch.tensor([classes.index(path.parent.name)])
torch.manual_seed(0)
train, test = torch.utils.data.random_split(examples, [0.8, 0.2])  # they come class by class


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.end = torch.nn.Linear(examples[0].num_features, 32), torch.nn.Linear(32, len(classes))
        self.positions = SinusoidalPositions(32, max_period=100)
        self.layers = GraphTransformer(32, 2, heads=4, norm_first=True)

    def forward(self, batch):
        x = self.layers(self.start(batch.x) + self.positions(batch.pos), batch.graph)
        return self.end(MeanReadout()(x, batch.graph))


model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(20):
    for batch in DataLoader(train, batch_size=32, shuffle=True):
        loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
batch = next(iter(DataLoader(test, batch_size=len(test))))
print(f"{100 * (model(batch).argmax(1) == batch.y).float().mean():.0f} % of {len(test)} new images are right")
explore(model, test[0], "image.html", classes=classes)  # a page: which patches does each one attend to?
