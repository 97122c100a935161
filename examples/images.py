"""Digits by a convolutional network, and by attention on the grid of pixels that starts as that very network.

    python -m examples.images                         # MNIST, 5 CPU minutes
    python -m examples.images --fine-tune 300         # fewer steps

A convolution is attention in which each head looks at one fixed place of the window (Cordonnier et al. 2020, "On the
relationship between self-attention and convolutional layers", arXiv 1911.03584, theorem 1). The example

1. trains a small network of three convolutions for an epoch,
2. turns each of them into attention with 9 heads and compares the outputs: equal but for rounding,
3. gives the heads a finite sharpness, so that a head has 72 % of its weight at its place and may learn to look elsewhere,
4. trains on for as many steps, from the same weights and on the same images: the convolutions; attention that may move
   its heads to other places of the window; attention that may also let queries and keys, the content, decide.

Nothing is chosen: every network is tested after its last step, on the 10,000 test images. Published: 99.05 % LeNet-5
(LeCun et al. 1998, without distortions), larger and trained for 20 epochs. A tenth of a per cent is the standard error
of a test accuracy of 99 % on 10,000 images: smaller differences say nothing.

Found (seed 0): 97.94 % the convolutions and the attention that equals them (scores differ by 6e-6), 95.30 % at sharpness
3; trained on for an epoch 98.40 % the convolutions, 98.24 % attention, be it to places or to places and content. So
nothing is gained on digits, at 20 times the work; but the heads did move where there is ink (images_digits.png).
"""

import argparse
import copy
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.seed import seed_everything
from tqdm import tqdm

from graphattn.datasets.mnist import MNIST
from graphattn.nn.equivalences import ConvAttention, to_images, to_nodes

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CHANNELS = (1, 8, 16, 32)
STRIDES = (2, 2, 1)  # 28 x 28 pixels -> 14 x 14 -> 7 x 7 -> 7 x 7
KEY_CHANNELS = 8
SHARPNESS = 3.0  # exp(3) / (exp(3) + 8) = 72 % of a head's weight at its place
TOLERANCE = 1e-5  # of float32 outputs of about 10
PUBLISHED = "99.05 % LeNet-5 (LeCun et al. 1998)"


# Networks ------------------------------------------------------------------------------------------------------------


class ConvNet(nn.Module):
    """Three convolutions and a linear map: images [N, 1, 28, 28] -> scores [N, 10]."""

    def __init__(self):
        super().__init__()
        sizes = zip(CHANNELS[:-1], CHANNELS[1:], STRIDES)
        self.convs = nn.ModuleList(nn.Conv2d(*size, 3, stride, padding=1) for *size, stride in sizes)
        self.head = nn.Linear(CHANNELS[-1] * 7 * 7, MNIST.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        for conv in self.convs:
            images = conv(images).relu()
        return self.head(images.flatten(1))


class AttentionNet(nn.Module):
    """The same network with attention in place of its convolutions; `key_channels` = 0 has no queries and keys."""

    def __init__(self, network: ConvNet, key_channels: int):
        super().__init__()
        self.layers = nn.ModuleList(ConvAttention.from_conv(conv, key_channels=key_channels) for conv in network.convs)
        self.head = copy.deepcopy(network.head)

    def soften(self) -> "AttentionNet":
        """From here on the heads can learn to look elsewhere."""
        for layer in self.layers:
            layer.sharpness = SHARPNESS
        return self

    def forward(self, images: Tensor) -> Tensor:
        x, sides = to_nodes(images)
        for layer in self.layers:
            x, sides = layer(x, sides).relu(), layer.output_sides(sides)
        return self.head(to_images(x, sides).flatten(1))

    @torch.no_grad()
    def attention(self, images: Tensor) -> list[Tensor]:
        """What each layer's heads look at: [N, rows, columns, heads, 3, 3]."""
        weights = []
        x, sides = to_nodes(images)
        for layer in self.layers:
            outputs = layer.output_sides(sides)
            weights.append(layer.attention(x, sides).unflatten(0, (len(images), *outputs[0])))
            x, sides = layer(x, sides).relu(), outputs
        return weights


# Training and testing ------------------------------------------------------------------------------------------------


def scale(images: Tensor) -> Tensor:
    """[N, 28, 28] bytes -> [N, 1, 28, 28] of mean 0 and deviation 1 over the training pixels."""
    return (images[:, None] / 255 - 0.1307) / 0.3081


def batches(data: MNIST, size: int, num_steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches, epoch after epoch; the same for the same seed."""
    generator, step = torch.Generator().manual_seed(seed), 0
    while step < num_steps:
        for chosen in torch.randperm(len(data), generator=generator).split(size)[: num_steps - step]:
            yield scale(data.images[chosen]), data.labels[chosen]
            step += 1


def train(network: nn.Module, data: MNIST, num_steps: int, lr: float, args: argparse.Namespace, name: str) -> float:
    """Adam, the learning rate falling to 0; returns CPU seconds."""
    start = time.process_time()
    optimizer = torch.optim.Adam(network.parameters(), lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, num_steps)
    network.train()
    for images, labels in tqdm(batches(data, args.batch_size, num_steps, args.seed), name, num_steps, leave=False):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return time.process_time() - start


@torch.no_grad()
def scores(network: nn.Module, data: MNIST) -> Tensor:
    network.eval()
    return torch.cat([network(scale(images)) for images in data.images.split(500)])


def accuracy(network: nn.Module, data: MNIST) -> float:
    """In per cent."""
    return 100 * (scores(network, data).argmax(1) == data.labels).double().mean().item()


@dataclass
class Found:
    name: str
    accuracy: float
    network: nn.Module
    cpu_seconds: float | None = None  # of its training

    def __str__(self) -> str:
        seconds = "" if self.cpu_seconds is None else f"{self.cpu_seconds:8.0f}"
        weights = sum(parameter.numel() for parameter in self.network.parameters())
        return f"{self.name:52} {weights:8,} {self.accuracy:10.2f} {seconds}"


def compare(train_set: MNIST, test_set: MNIST, args: argparse.Namespace) -> list[Found]:
    """The networks of the docstring, in its order."""
    print(f"{'network':52} {'weights':>8} {'accuracy %':>10} {'CPU s':>8}")
    found = []

    def note(name: str, network: nn.Module, cpu_seconds: float | None = None) -> None:
        found.append(Found(name, accuracy(network, test_set), network, cpu_seconds))
        print(found[-1], flush=True)

    start = ConvNet()
    steps = args.steps or -(-len(train_set) // args.batch_size)
    note("convolutions", start, train(start, train_set, steps, args.lr, args, "convolutions"))
    for key_channels in (0, KEY_CHANNELS):
        check_equal(start, AttentionNet(start, key_channels), test_set)
    note("the same as attention, exactly", AttentionNet(start, KEY_CHANNELS))
    note(f"sharpness {SHARPNESS:g}", AttentionNet(start, KEY_CHANNELS).soften())
    on = {
        "convolutions, trained on": copy.deepcopy(start),
        "attention, trained on: places": AttentionNet(start, 0).soften(),
        "attention, trained on: places and content": AttentionNet(start, KEY_CHANNELS).soften(),
    }
    for name, network in on.items():
        note(name, network, train(network, train_set, args.fine_tune or steps, args.lr / 2, args, name))
    return found


def check_equal(network: nn.Module, other: nn.Module, data: MNIST) -> float:
    """The largest difference of their scores on 1,000 images; raises if it is more than rounding."""
    images = scale(data.images[:1000])
    with torch.no_grad():
        difference = (network.eval()(images) - other.eval()(images)).abs().max().item()
    print(f"largest difference of the scores of {len(images)} images: {difference:.1e}")
    if not difference < TOLERANCE:
        raise RuntimeError(f"the two should be equal to {TOLERANCE:g} (got {difference:g})")
    return difference


# Pictures ------------------------------------------------------------------------------------------------------------


def tiles(weights: Tensor) -> Tensor:
    """[9 heads, 3, 3] -> [9, 9]: the window of each head, at the head's own place."""
    return weights.view(3, 3, 3, 3).transpose(1, 2).reshape(9, 9)


def draw_heads(network: AttentionNet, before: AttentionNet, images: Tensor, path: Path) -> None:
    """Where the heads of each layer look: before, after on average, and how much that depends on the image."""
    figure, axes = plt.subplots(len(STRIDES), 3, figsize=(10.5, 9.6), layout="constrained")
    columns = ("before training on", "after: mean over all windows", "after: standard deviation over windows")
    for layer, (old, new) in enumerate(zip(before.attention(images), network.attention(images))):
        new = new.flatten(0, 2)
        for ax, title, weights in zip(axes[layer], columns, (old[0, 3, 3], new.mean(0), new.std(0))):
            picture = ax.imshow(tiles(weights).numpy(), cmap="magma_r", vmin=0)
            figure.colorbar(picture, ax=ax, shrink=0.85)
            ax.set(xticks=[], yticks=[], title=f"layer {layer + 1}, {title}")
            ax.title.set_fontsize(9)
            for edge in (2.5, 5.5):
                ax.axhline(edge, color="tab:blue", linewidth=1.5)
                ax.axvline(edge, color="tab:blue", linewidth=1.5)
    figure.suptitle("nine heads (blue frames), each with the 3 x 3 places that it may look at")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_digits(network: AttentionNet, images: Tensor, path: Path, num_heads: int = 5) -> None:
    """Test images, and for each output pixel of the first layer what a head leaves at its own place."""
    weights = network.attention(scale(images))[0].flatten(4)
    own = weights.diagonal(dim1=3, dim2=4)  # [N, rows, columns, heads]
    heads = own.flatten(0, 2).std(0).argsort(descending=True)[:num_heads].sort().values.tolist()
    least, most = own[..., heads].min().item(), own[..., heads].max().item()
    size = (1.6 * (1 + num_heads) + 1, 1.7 * len(images))
    figure, axes = plt.subplots(len(images), 1 + num_heads, figsize=size, layout="constrained", squeeze=False)
    for image, maps, row in zip(images, own, axes):
        row[0].imshow(image.numpy(), cmap="gray_r")
        for head, ax in zip(heads, row[1:]):
            picture = ax.imshow(maps[..., head].numpy(), cmap="viridis", vmin=least, vmax=most)
            ax.set_title(f"head {head + 1}", fontsize=9)
        for ax in row:
            ax.set(xticks=[], yticks=[])
    figure.colorbar(picture, ax=axes, shrink=0.7, label="weight that the head leaves at its own place")
    figure.suptitle("first layer: the heads that the content moves most", fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.environ.get("GRAPHATTN_DATA", "datasets"), help="holds the folder mnist")
    parser.add_argument("--steps", type=int, help="of the convolutions; default: one epoch")
    parser.add_argument("--fine-tune", type=int, help="steps of training on; default: as many as before")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3, help="half of it for training on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of the pictures")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> list[Found]:
    """Trains, prints the table, draws; returns the rows of the table."""
    args = parse_arguments(arguments)
    torch.set_num_threads(args.threads)
    seed_everything(args.seed)
    train_set, test_set = (MNIST(f"{args.root}/mnist", train=is_train) for is_train in (True, False))
    found = compare(train_set, test_set, args)
    args.out.mkdir(parents=True, exist_ok=True)
    _, _, before, *_, after = (each.network for each in found)
    draw_heads(after, before, scale(test_set.images[:100]), args.out / "images_heads.png")
    draw_digits(after, test_set.images[:5], args.out / "images_digits.png")
    print(f"published: {PUBLISHED}; {time.process_time():.0f} CPU seconds in all; pictures in {args.out}")
    return found


if __name__ == "__main__":
    main()
