"""The example on two kinds of digits, in the files of MNIST."""

import json

import pytest
import torch

from examples import cnn_or_attention as example
from graphattn.datasets.mnist import MNIST
from tests.examples.digits import write_digits


@pytest.fixture
def root(tmp_path):
    write_digits(tmp_path)
    return tmp_path


def test_both_have_as_many_parameters_within_one_per_cent():
    counts = [sum(p.numel() for p in example.Classifier(name).parameters()) for name in example.MODELS]
    assert max(counts) < 1.01 * min(counts)


def test_a_convolution_sees_its_neighbours_and_attention_sees_all():
    torch.manual_seed(0)
    x = torch.randn(2, 49, example.CHANNELS)
    changed = x.clone()
    changed[0, 1] += torch.randn(example.CHANNELS)  # the patch beside the upper left corner of the first image
    for name, seen in (("convolution", [0, 1, 2, 7, 8, 9]), ("attention", list(range(49)))):
        block = example.MODELS[name]().eval()
        differs = (block(changed) - block(x)).abs().amax(-1) > 1e-6
        assert differs[0].nonzero().flatten().tolist() == seen and not differs[1].any()


@pytest.mark.parametrize("name", example.MODELS)
def test_places_count(name):
    torch.manual_seed(0)
    model = example.Classifier(name).eval()
    image = torch.zeros(1, 28, 28)
    image[0, :4, :4] = torch.rand(4, 4)
    moved = image.roll((8, 12), (1, 2))  # whole patches
    assert (model(image) - model(moved)).abs().max() > 1e-4


def test_patches_are_cut_row_by_row():
    model = example.Classifier("convolution")
    model.embed, model.blocks, seen = torch.nn.Identity(), torch.nn.Identity(), []
    model.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.head = torch.nn.Identity()
    images = torch.arange(784.0).view(1, 28, 28)
    model(images)
    assert seen[0].shape == (1, 49, 16)
    assert seen[0][0, 8].tolist() == images[0, 4:8, 4:8].flatten().tolist()


def test_larger_parts_contain_the_smaller_ones(root):
    data = MNIST(root / "mnist")
    small, _ = example.part_of(data, 10, seed=1)
    large, labels = example.part_of(data, 30, seed=1)
    assert torch.equal(small, large[:10]) and len(labels) == 30
    assert not torch.equal(small, example.part_of(data, 10, seed=2)[0])


def test_batches_go_through_all_images_before_any_comes_again():
    batches = example.draw_batches(10, 4, num_steps=6, seed=0)
    assert batches.shape == (6, 4)
    order = batches.flatten().tolist()
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10)) and order[:10] != order[10:20]
    assert torch.equal(batches, example.draw_batches(10, 4, num_steps=6, seed=0))


def test_runs_from_files_to_the_plot_and_goes_on_where_it_stopped(root, monkeypatch, capsys):
    monkeypatch.setattr(example, "RUNS", {8: 2, 40: 1})
    results = root / "results" / "found.json"
    arguments = ["--root", str(root), "--results", str(results), "--steps", "20", "--batch-size", "8", "--lr", "0.003"]
    small = example.main([*arguments, "--sizes", "8", "--seeds", "1"])
    assert [(each["model"], each["images"], each["seed"]) for each in small] == [
        ("convolution", 8, 0), ("attention", 8, 0)]  # fmt: skip
    assert results.with_suffix(".png").is_file()
    found = example.main([*arguments, "--sizes", "8", "40"])
    assert found[:2] == small and len(found) == 6  # kept, their seconds too
    assert [each["images"] for each in found] == [8, 8, 40, 40, 8, 8]
    assert all(each["accuracy"] >= 90 for each in found if each["images"] == 40)
    assert json.loads(results.read_text())["records"] == found
    assert "convolution %" in capsys.readouterr().out
    other = example.main([*arguments, "--sizes", "8", "--seeds", "1", "--steps", "1"])  # another recipe: nothing kept
    assert other[0]["accuracy"] != small[0]["accuracy"] or other[0]["cpu_seconds"] != small[0]["cpu_seconds"]
