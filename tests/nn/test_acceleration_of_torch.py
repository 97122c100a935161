"""What `accelerate` says of torch's own Transformers, which take padded batches and are made anew."""

import pytest
import torch
import torch_geometric.nn as pyg

from graphattn import accelerate, from_padded, nn, to_padded

LAYER = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
DECODER = torch.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)


@pytest.mark.parametrize(
    "module, ours",
    [
        (torch.nn.TransformerEncoder(LAYER, 2), "GraphTransformer"),
        (torch.nn.TransformerDecoder(DECODER, 2), "GraphTransformerDecoder"),
        (LAYER, "EncoderLayer"),
        (DECODER, "DecoderLayer"),
    ],
)
def test_the_way_is_told_once(module, ours):
    for model, name in ((module, ""), (torch.nn.Sequential(module), "0")):
        found = accelerate(model)
        assert list(found.left) == [name] and not found.swapped
        assert f"graphattn.nn.{ours}.from_torch" in found.left[name] and "from_padded" in found.left[name]
    assert hasattr(getattr(nn, ours), "from_torch")


def test_attention_inside_of_a_layer_of_pyg_is_no_matter_of_torch():
    found = accelerate(torch.nn.ModuleList([pyg.GPSConv(8, None, heads=2), torch.nn.TransformerEncoder(LAYER, 1)]))
    assert list(found.swapped) == ["0"] and list(found.left) == ["1"]


def test_the_way_leads_there():
    torch.manual_seed(0)
    encoder = torch.nn.TransformerEncoder(LAYER, 2, enable_nested_tensor=False).eval()
    x, mask = torch.randn(3, 5, 8), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]).bool()
    ours = nn.GraphTransformer.from_torch(encoder).eval()
    out, _ = to_padded(ours(*from_padded(x, mask)), mask)
    torch.testing.assert_close(out[mask], encoder(x, src_key_padding_mask=~mask)[mask])
