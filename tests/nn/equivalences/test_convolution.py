import math

import pytest
import torch

from graphattn.nn.equivalences.convolution import ConvAttention
from graphattn.nn.equivalences.images import to_images, to_nodes
from tests.nn.peer import LOSSES
from tests.nn.spoiled import WAYS, WEIGHT_WAYS

CONVS = [  # class, sizes of the image, options
    (torch.nn.Conv1d, (11,), {"kernel_size": 3, "padding": 1}),
    (torch.nn.Conv1d, (12,), {"kernel_size": 4, "stride": 3, "dilation": 2, "padding": 3, "bias": False}),
    (torch.nn.Conv2d, (5, 7), {"kernel_size": 3, "padding": 1}),
    (torch.nn.Conv2d, (9, 6), {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (3, 1)}),
    (torch.nn.Conv2d, (6, 8), {"kernel_size": (4, 1), "padding": "same", "dilation": 3, "groups": 2}),
    (torch.nn.Conv2d, (6, 7), {"kernel_size": 1, "padding": 2, "stride": 2, "groups": 2}),
    (torch.nn.Conv2d, (6, 7), {"kernel_size": 3, "padding": "valid"}),
    (torch.nn.Conv2d, (5, 7), {"kernel_size": 3, "padding": 2, "padding_mode": "reflect"}),
    (torch.nn.Conv2d, (5, 7), {"kernel_size": (5, 2), "padding": (2, 1), "padding_mode": "circular"}),
    (torch.nn.Conv3d, (4, 3, 5), {"kernel_size": (3, 2, 2), "padding": 1, "stride": (1, 2, 1), "groups": 2}),
]


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def make(conv_class, sides, options):
    torch.manual_seed(0)
    conv = conv_class(4, 6, **options).double()
    return conv, torch.randn(2, 4, *sides, dtype=torch.float64)


@pytest.mark.parametrize("conv_class, sides, options", CONVS)
def test_equals_the_convolution_and_its_gradients(conv_class, sides, options):
    conv, images = make(conv_class, sides, options)
    images.requires_grad_()
    layer = ConvAttention.from_conv(conv)
    x, image_sides = to_nodes(images)
    found, wanted = layer(x, image_sides), conv(images)
    close(to_images(found, layer.output_sides(image_sides)), wanted)
    for loss in LOSSES.values():
        total = loss(to_images(found, layer.output_sides(image_sides)))
        found_images, found_weight = torch.autograd.grad(total, [images, layer.weight], retain_graph=True)
        wanted_images, wanted_weight = torch.autograd.grad(loss(wanted), [images, conv.weight], retain_graph=True)
        close(found_images, wanted_images)
        heads = found_weight.flatten(1).unflatten(1, layer.weight.shape[1:]).permute(1, 3, 2, 0)
        close(heads.flatten(0, 1).unflatten(2, layer.kernel_size), wanted_weight)


@pytest.mark.parametrize("conv_class, sides, options", CONVS)
def test_back_to_the_same_convolution(conv_class, sides, options):
    conv, images = make(conv_class, sides, options)
    back = ConvAttention.from_conv(conv).to_conv()
    assert (back.stride, back.padding, back.dilation, back.groups) == (
        conv.stride, conv.padding, conv.dilation, conv.groups)  # fmt: skip
    assert torch.equal(back.weight, conv.weight)
    assert torch.equal(back(images), conv(images))


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", ["same", 1])
def test_every_padding(padding, padding_mode):
    conv, images = make(
        torch.nn.Conv2d, (5, 7), {"kernel_size": (3, 2), "padding": padding, "padding_mode": padding_mode}
    )
    layer = ConvAttention.from_conv(conv)
    x, sides = to_nodes(images)
    close(to_images(layer(x, sides), layer.output_sides(sides)), conv(images))


@pytest.mark.parametrize("way", [*WAYS, *WEIGHT_WAYS])
def test_what_would_be_lost_is_refused(way):
    conv = torch.nn.Conv2d(4, 6, 3)
    spoil, reason = (WAYS | WEIGHT_WAYS)[way]
    spoil(conv)
    with pytest.raises(ValueError, match=f"'conv' {reason}"):
        ConvAttention.from_conv(conv)


@pytest.mark.parametrize("way", WAYS)
def test_what_would_be_lost_on_the_way_back_is_refused(way):
    layer = ConvAttention.from_conv(torch.nn.Conv2d(4, 6, 3))
    spoil, reason = WAYS[way]
    spoil(layer)
    with pytest.raises(ValueError, match=f"'layer' {reason}"):
        layer.to_conv()


def test_other_convolutions_are_refused():
    for other in (torch.nn.ConvTranspose2d(4, 6, 3), torch.nn.Unfold(3)):
        with pytest.raises(TypeError, match=f"got {type(other).__name__}"):
            ConvAttention.from_conv(other)
    with pytest.raises(ValueError, match="has no weights yet .*call it once"):
        ConvAttention.from_conv(torch.nn.LazyConv2d(6, 3))
    with pytest.raises(TypeError, match="floating weights .got torch.complex64"):
        ConvAttention.from_conv(torch.nn.Conv2d(4, 6, 3, dtype=torch.complex64))


def test_frozen_convolutions_stay_frozen_both_ways():
    conv = torch.nn.Conv2d(4, 6, 3).bfloat16().eval()
    conv.weight.requires_grad_(False)
    layer = ConvAttention.from_conv(conv, key_channels=2)
    assert [name for name, parameter in layer.named_parameters() if parameter.requires_grad] == ["bias"]
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.bfloat16} and not layer.training
    back = ConvAttention.from_conv(conv).to_conv()
    assert back.bias.requires_grad and not back.weight.requires_grad and not back.training
    assert not any(x.requires_grad for x in ConvAttention.from_conv(conv.requires_grad_(False)).parameters())


def test_softened_heads_are_another_convolution_with_learned_places():
    conv, images = make(*CONVS[3])
    layer = ConvAttention.from_conv(conv, sharpness=2.0)
    x, sides = to_nodes(images)
    out = layer(x, sides)
    close(to_images(out, layer.output_sides(sides)), layer.to_conv()(images))
    assert not torch.allclose(layer.to_conv().weight, conv.weight)
    (grad,) = torch.autograd.grad(out, layer.table, torch.randn_like(out))
    assert grad.abs().min() > 0
    layer.sharpness = 60.0  # the limit is smooth
    close(to_images(layer(x, sides), layer.output_sides(sides)), conv(images))
    torch.nn.init.normal_(layer.table)  # the heads no longer look at places of their own, nor in the same order
    layer.sharpness = 1.0
    close(to_images(layer(x, sides), layer.output_sides(sides)), layer.to_conv()(images))


def test_content_starts_as_the_convolution_and_can_leave_it():
    conv, images = make(*CONVS[3])
    layer = ConvAttention.from_conv(conv, key_channels=5, sharpness=60.0)
    x, sides = to_nodes(images)
    close(to_images(layer(x, sides), layer.output_sides(sides)), conv(images))
    layer.sharpness = 1.0
    torch.nn.init.normal_(layer.lin_query.weight)
    out = to_images(layer(x, sides), layer.output_sides(sides))
    close(out, content_by_loops(layer, images))
    with pytest.raises(ValueError, match="key_channels=5"):
        layer.to_conv()


def content_by_loops(layer, images):
    """One output pixel, one head, one place at a time (Conv2d sizes only)."""
    (height, width), (rows, columns), (down, right) = layer.kernel_size, layer.stride, layer.dilation
    padded = torch.nn.functional.pad(images, (layer.padding[1],) * 2 + (layer.padding[0],) * 2)
    out_rows = (padded.size(2) - down * (height - 1) - 1) // rows + 1
    out_columns = (padded.size(3) - right * (width - 1) - 1) // columns + 1
    out = images.new_zeros(images.size(0), layer.out_channels, out_rows, out_columns)
    places = [(a, b) for a in range(height) for b in range(width)]
    for n in range(images.size(0)):
        for i in range(out_rows):
            for j in range(out_columns):
                window = [padded[n, :, i * rows + down * a, j * columns + right * b] for a, b in places]
                query = (layer.lin_query.weight @ window[(len(places) - 1) // 2]).view(layer.heads, -1)
                total = layer.bias.clone()
                for h in range(layer.heads):
                    scores = torch.stack([query[h] @ (layer.lin_key.weight @ pixel) for pixel in window])
                    scores = scores / layer.key_channels**0.5 + layer.sharpness * layer.table[h]
                    seen = (scores.softmax(0)[:, None] * torch.stack(window)).sum(0)
                    total = total + seen @ layer.weight[h, 0]
                out[n, :, i, j] = total
    return out


def test_attention_shows_one_place_per_head():
    conv, images = make(*CONVS[2])
    layer = ConvAttention.from_conv(conv)
    weights = layer.attention(*to_nodes(images))
    assert weights.shape == (70, 9, 3, 3)
    assert torch.equal(weights.flatten(2), torch.eye(9, dtype=torch.float64).expand(70, 9, 9))


def test_a_batch_of_different_images_equals_one_at_a_time():
    conv, _ = make(*CONVS[3])
    layer = ConvAttention.from_conv(conv)
    images = [torch.randn(1, 4, *sides, dtype=torch.float64) for sides in [(9, 6), (4, 3), (7, 11)]]
    nodes = torch.cat([to_nodes(image)[0] for image in images])
    sides = [(9, 6), (4, 3), (7, 11)]
    out = layer(nodes, sides).split([math.prod(image) for image in layer.output_sides(sides)])
    for part, image in zip(out, images):
        close(part, to_nodes(conv(image))[0])
    close(layer(nodes[:54], (9, 6)), out[0])
    assert layer.output_sides((9, 6)) == (4, 8) and layer.output_sides([(9, 6)]) == [(4, 8)]


def test_heads_need_not_be_as_many_as_places():
    layer = ConvAttention(2, 3, (3, 3), padding=1, heads=4)
    assert layer(torch.randn(20, 2), (4, 5)).shape == (20, 3)
    assert layer.table.argmax(1).tolist() == [0, 1, 2, 3]


def test_bad_input():
    layer = ConvAttention(2, 3, (3, 3))
    with pytest.raises(ValueError, match=r"\[20, 2\] for sides \(4, 5\) \(got \[21, 2\]\)"):
        layer(torch.randn(21, 2), (4, 5))
    with pytest.raises(ValueError, match="does not fit into an image of sides .2, 5."):
        layer(torch.randn(10, 2), (2, 5))
    with pytest.raises(ValueError, match="2 axes"):
        layer(torch.randn(5, 2), (5,))
    with pytest.raises(ValueError, match="'groups' must divide"):
        ConvAttention(3, 4, (3,), groups=2)
    with pytest.raises(ValueError, match="needs stride 1"):
        ConvAttention(3, 4, (3,), stride=2, padding="same")
    with pytest.raises(ValueError, match="1 to 3 axes"):
        ConvAttention(3, 4, (3, 3, 3, 3))
    with pytest.raises(TypeError, match="got Linear"):
        ConvAttention.from_conv(torch.nn.Linear(3, 3))
    with pytest.raises(TypeError, match="got ConvTranspose2d"):
        ConvAttention.from_conv(torch.nn.ConvTranspose2d(3, 3, 3))
