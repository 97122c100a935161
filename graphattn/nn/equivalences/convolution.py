"""A convolution is attention whose heads look at fixed places of a window."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.dense import Linear

from graphattn.functional import attend, attention_weights
from graphattn.graphs import GridGraph
from graphattn.graphs.sizes import is_sequence, parse_integer
from graphattn.nn.equivalences.images import pad_nodes
from graphattn.nn.plain import check_plain
from graphattn.nn.torch_weights import Copies, check_floating

CONVOLUTIONS = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
PADDINGS = ("zeros", "reflect", "replicate", "circular")

SidesOfImages = Sequence[int] | Sequence[Sequence[int]]


class ConvAttention(torch.nn.Module):
    r"""Multi-head attention on a grid that contains the convolutions (Cordonnier et al. 2020, theorem 1).

    .. math::
        x'_i = b + \sum_h W_h \sum_{k} \mathrm{softmax}_k(\mathrm{sharpness} \cdot t_{hk} + q_{ih} \cdot r_{j}) x_j,
        \quad j = \mathrm{stride} \cdot i - \mathrm{padding} + \mathrm{dilation} \cdot k

    The learned table t [heads, places] scores the places k of a window. With one head per place, a table of ones where
    head = place, and infinite sharpness, head h sees the pixel at place h alone and the layer is `torch.nn.Conv1d`, `2d`
    or `3d` with the kernel W, to the last digit but for rounding. A finite sharpness lets the heads learn where to look;
    `key_channels` lets them look at what is there (one key for all heads; queries start at 0, so that nothing changes).

    Padding adds nodes of value 0 around the image, as it adds pixels for a convolution (or copies, by `padding_mode`).

    Args:
        in_channels: Size of the features of a pixel.
        out_channels: Size of the result.
        kernel_size: Places of the window along each axis: a tuple of 1 to 3 ints.
        stride, padding, dilation: As for torch.nn.Conv2d, an int or one per axis; padding also 'same' or 'valid'.
        groups: Blocks of channels that do not mix.
        bias: Whether an offset is learned.
        padding_mode: 'zeros', 'reflect', 'replicate' or 'circular'.
        heads: Number of heads; one per place by default.
        key_channels: Size of queries and keys; 0: the place alone decides, and the layer is some convolution.
        sharpness: Factor of the table; `math.inf` makes each head look at its best place (ties: at their mean).

    Shapes:
        - x: [num_nodes, in_channels], images laid end to end, each in C order (see `to_nodes`)
        - sides: (height, width), or a list of such tuples for several images
        - output: [num_output_nodes, out_channels] on images of `output_sides(sides)`

    Raises:
        ValueError, TypeError: where sizes do not fit.

    Example:
        >>> from graphattn.nn.equivalences import to_images, to_nodes
        >>> conv = torch.nn.Conv2d(3, 8, kernel_size=3, padding=1)
        >>> layer = ConvAttention.from_conv(conv)
        >>> images = torch.rand(2, 3, 5, 7)
        >>> x, sides = to_nodes(images)
        >>> out = to_images(layer(x, sides), layer.output_sides(sides))
        >>> torch.allclose(out, conv(images), atol=1e-6)
        True
        >>> layer.sharpness = 5.0  # from here on the heads can learn to look elsewhere
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        padding_mode: str = "zeros",
        heads: int | None = None,
        key_channels: int = 0,
        sharpness: float = 5.0,
    ):
        super().__init__()
        self.kernel_size = tuple(parse_integer("kernel_size", side, minimum=1) for side in kernel_size)
        self.axes = len(self.kernel_size)
        if self.axes not in CONVOLUTIONS:
            raise ValueError(f"'kernel_size' must have 1 to 3 axes (got {self.kernel_size})")
        self.in_channels = parse_integer("in_channels", in_channels, minimum=1)
        self.out_channels = parse_integer("out_channels", out_channels, minimum=1)
        self.groups = parse_integer("groups", groups, minimum=1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"'groups' must divide in_channels and out_channels (got {groups} for {in_channels} and "
                             f"{out_channels})")  # fmt: skip
        if padding_mode not in PADDINGS:
            raise ValueError(f"'padding_mode' must be one of {PADDINGS} (got {padding_mode!r})")
        self.stride = self.per_axis("stride", stride, 1)
        self.dilation = self.per_axis("dilation", dilation, 1)
        self.padding = padding if isinstance(padding, str) else self.per_axis("padding", padding, 0)
        self.padding_mode = padding_mode
        self.margins = self.find_margins()
        self.places = math.prod(self.kernel_size)
        self.heads = self.places if heads is None else parse_integer("heads", heads, minimum=1)
        self.key_channels = parse_integer("key_channels", key_channels)
        self.sharpness = sharpness
        self.table = Parameter(torch.empty(self.heads, self.places))
        # [heads, groups, in_channels / groups, out_channels / groups]
        self.weight = Parameter(torch.empty(self.heads, groups, in_channels // groups, out_channels // groups))
        self.bias = Parameter(torch.empty(out_channels)) if bias else None
        has_keys = self.key_channels > 0
        self.lin_query = Linear(in_channels, self.heads * self.key_channels, bias=False) if has_keys else None
        self.lin_key = Linear(in_channels, self.key_channels, bias=False) if has_keys else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Head h looks at place h (modulo their number); the maps are as wide as those of a convolution."""
        with torch.no_grad():
            head = torch.arange(self.heads)
            self.table.zero_()
            self.table[head, head % self.places] = 1
            bound = 1 / math.sqrt(self.heads * self.in_channels // self.groups)
            self.weight.uniform_(-bound, bound)
            if self.bias is not None:
                self.bias.uniform_(-bound, bound)
            if self.lin_key is not None and self.lin_query is not None:
                self.lin_key.reset_parameters()
                self.lin_query.weight.zero_()

    @classmethod
    def from_conv(
        cls,
        conv: torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d,
        *,
        key_channels: int = 0,
        sharpness: float = math.inf,
    ) -> "ConvAttention":
        """The attention that equals `conv`, a torch.nn.Conv1d, Conv2d or Conv3d, as long as `sharpness` is infinite.

        Weights are copied; if those of a convolution are frozen, so is where the heads look. Raises TypeError for another
        module (ConvTranspose2d, a lazy one before its first call) and ValueError for one with methods, hooks or
        parametrizations of its own.
        """
        check_plain("conv", conv, *CONVOLUTIONS.values())
        check_floating("conv", conv.weight)
        windows = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        options: dict[str, Any] = {
            "padding_mode": conv.padding_mode,
            "key_channels": key_channels,
            "sharpness": sharpness,
        }
        has_bias = conv.bias is not None
        layer = cls(conv.in_channels, conv.out_channels, *windows, conv.groups, has_bias, **options).to(conv.weight)
        layer.requires_grad_(conv.weight.requires_grad)
        with torch.no_grad():
            # [out_channels, in_channels / groups, *kernel_size] -> [places, groups, in_channels / groups, out per group]
            layer.weight.copy_(conv.weight.flatten(2).unflatten(0, (conv.groups, -1)).permute(3, 0, 2, 1))
        layer.bias = Copies()(conv.bias)
        return layer.train(conv.training)

    def to_conv(self) -> torch.nn.Module:
        """The convolution that equals this layer at its present sharpness: kernel[k] = sum over h of p[h, k] W_h.

        Raises ValueError with `key_channels`: where the content decides what is seen there is no such convolution.
        """
        check_plain("layer", self, ConvAttention)
        if self.key_channels:
            raise ValueError(f"attention to content is no convolution (got key_channels={self.key_channels})")
        windows = (self.kernel_size, self.stride, self.padding, self.dilation)
        options: dict[str, Any] = {"bias": self.bias is not None, "padding_mode": self.padding_mode}
        kind: Any = CONVOLUTIONS[self.axes]
        conv = kind(self.in_channels, self.out_channels, *windows, self.groups, **options).to(self.weight)
        with torch.no_grad():
            kernel = torch.einsum("hk,hgio->goik", self.scores().softmax(1), self.weight)
            conv.weight.copy_(kernel.flatten(0, 1).unflatten(2, self.kernel_size))
        conv.weight.requires_grad_(self.weight.requires_grad)
        conv.bias = Copies()(self.bias)
        return conv.train(self.training)

    def forward(self, x: Tensor, sides: SidesOfImages) -> Tensor:
        query, key, value, graph = self.prepare(x, sides)
        seen = attend(query, key, value, graph, bias=self.bias_of(graph), scale=1.0)  # [queries, heads, in_channels]
        seen = seen.unflatten(2, (self.groups, -1))
        out = torch.einsum("nhgi,hgio->ngo", seen, self.weight).flatten(1)
        return out if self.bias is None else out + self.bias

    def attention(self, x: Tensor, sides: SidesOfImages) -> Tensor:
        """What each head looks at: [num_output_nodes, heads, *kernel_size], summing to 1 over a window."""
        query, key, _, graph = self.prepare(x, sides)
        weights = attention_weights(query, key, graph, bias=self.bias_of(graph), scale=1.0)
        return weights.unflatten(0, (-1, self.places)).transpose(1, 2).unflatten(2, self.kernel_size)

    def prepare(self, x: Tensor, sides: SidesOfImages) -> tuple[Tensor, Tensor, Tensor, GridGraph]:
        """Query [queries, heads, channels], key [pixels, 1, channels], value [pixels, 1, in_channels], graph."""
        images = self.parse_sides(sides)
        if x.dim() != 2 or x.shape != (sum(map(math.prod, images)), self.in_channels):
            wanted = f"[{sum(map(math.prod, images))}, {self.in_channels}]"
            raise ValueError(f"'x' must be [num_nodes, in_channels] = {wanted} for sides {sides} (got {list(x.shape)})")
        graph = self.graph(images)
        value = pad_nodes(x, images, self.margins, self.padding_mode)
        if self.lin_query is None or self.lin_key is None:  # scores of 0: the table alone decides
            return (
                x.new_zeros(graph.num_queries, self.heads, 1),
                value.new_zeros(len(value), 1, 1),
                value[:, None],
                graph,
            )
        middle = graph.edge_index(x.device)[0].view(-1, self.places)[:, (self.places - 1) // 2]
        query = self.lin_query(value[middle]).unflatten(1, (self.heads, self.key_channels))
        return query / math.sqrt(self.key_channels), self.lin_key(value)[:, None], value[:, None], graph

    def graph(self, sides: SidesOfImages) -> GridGraph:
        """From the padded pixels to the output pixels: each query sees all places of its window, in their order."""
        images = self.parse_sides(sides)
        key_sides = [tuple(side + sum(margin) for side, margin in zip(image, self.margins)) for image in images]
        after = [side - 1 for side in self.kernel_size]
        window: dict[str, Any] = {"before": 0, "after": after, "dilation": self.dilation, "stride": self.stride}
        return GridGraph([self.shrink(image) for image in images], **window, key_sides=key_sides)

    def output_sides(self, sides: SidesOfImages) -> tuple[int, ...] | list[tuple[int, ...]]:
        """Sides of the result of each image, in the form of `sides`."""
        outputs = [self.shrink(image) for image in self.parse_sides(sides)]
        return outputs if is_sequence(sides[0]) else outputs[0]

    def shrink(self, image: tuple[int, ...]) -> tuple[int, ...]:
        spans = [dilation * (side - 1) for dilation, side in zip(self.dilation, self.kernel_size)]
        room = [side + sum(margin) - 1 - span for side, margin, span in zip(image, self.margins, spans)]
        if min(room) < 0:
            raise ValueError(f"the window of kernel_size {self.kernel_size} and dilation {self.dilation} does not fit into"
                             f" an image of sides {image} with margins {self.margins}")  # fmt: skip
        return tuple(pixels // stride + 1 for pixels, stride in zip(room, self.stride))

    def scores(self) -> Tensor:
        """Scores of the places, [heads, places]: -inf off the best ones if the sharpness is infinite."""
        if math.isinf(self.sharpness):
            is_best = self.table == self.table.amax(1, keepdim=True)
            return torch.zeros_like(self.table).masked_fill(~is_best, -torch.inf)
        return self.sharpness * self.table

    def bias_of(self, graph: GridGraph) -> Tensor:
        """[num_edges, heads]"""
        return self.scores().t().repeat(graph.num_queries, 1)

    def find_margins(self) -> tuple[tuple[int, int], ...]:
        """Pixels added before and after the image along each axis."""
        if self.padding == "valid":
            return ((0, 0),) * self.axes
        if self.padding == "same":
            if set(self.stride) != {1}:
                raise ValueError(f"padding='same' needs stride 1 (got {self.stride})")
            spans = [dilation * (side - 1) for dilation, side in zip(self.dilation, self.kernel_size)]
            return tuple((span // 2, span - span // 2) for span in spans)
        if isinstance(self.padding, str):
            raise ValueError(f"'padding' must be ints, 'same' or 'valid' (got {self.padding!r})")
        return tuple((margin, margin) for margin in self.padding)

    def per_axis(self, name: str, value: int | Sequence[int], minimum: int) -> tuple[int, ...]:
        given: Any = value
        values = tuple(given) if is_sequence(given) else (given,) * self.axes
        if len(values) != self.axes:
            raise ValueError(f"{name!r} must be an int or one for each of {self.axes} axes (got {value})")
        return tuple(parse_integer(name, entry, minimum) for entry in values)

    def parse_sides(self, sides: Any) -> list[tuple[int, ...]]:
        images = [tuple(image) for image in (sides if is_sequence(sides[0]) else [sides])]
        if any(len(image) != self.axes for image in images):
            raise ValueError(f"'sides' must have {self.axes} axes, one tuple or a list of them (got {sides})")
        return images

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size},"
            f" heads={self.heads}, sharpness={self.sharpness})"
        )
