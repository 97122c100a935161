import pytest
import torch

from graphattn.nn.sizes import both_features, both_sizes, check_features, check_sizes


def test_sizes_of_both_ends():
    assert both_sizes(3) == (3, 3) and both_sizes((3, 4)) == (3, 4)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((0, 1, 1, None), "'out_channels' must be a positive int .got 0"),
        ((4, True, 1, None), "'heads' must be a positive int .got True"),
        ((4, 4, 1.0, None), "'kv_heads' must be a positive int .got 1.0"),
        ((4, 4, 1, -1), "'edge_dim' must be a positive int .got -1"),
        ((4, 4, 3, None), "multiple of 'kv_heads' .got 4 and 3"),
    ],
)
def test_bad_sizes_are_named(sizes, words):
    with pytest.raises(ValueError, match=words):
        check_sizes(*sizes)


def test_features_have_the_sizes_of_their_side():
    source, target = torch.randn(5, 3), torch.randn(6, 4)
    check_sizes(4, 4, 2, 3)
    check_features(source, target, (3, 4))
    check_features(source, target, (-1, -1))
    with pytest.raises(ValueError, match=r"\[num_nodes, 4\] .got \[5, 3\]"):
        check_features(target, source, (4, 4))
    with pytest.raises(ValueError, match=r"got \[2, 5, 3\]"):
        check_features(source.expand(2, 5, 3), target, -1)
    with pytest.raises(TypeError, match="got list"):
        check_features([], target, 4)


def test_features_are_one_tensor_or_two():
    x = torch.randn(5, 3)
    assert both_features(x) == (x, x) and both_features([x, x]) == (x, x)
    for other in (x.numpy(), (x, x, x), None):
        with pytest.raises(TypeError, match=f"a pair .* of tensors .got {type(other).__name__}"):
            both_features(other)


def test_a_padded_batch_is_told_what_to_do():
    with pytest.raises(ValueError, match=r"got \[2, 5, 3\].*of a padded batch graphattn.from_padded makes both"):
        check_features(torch.randn(2, 5, 3), torch.randn(2, 5, 3), 3)
