"""Numbers of nodes: what is told of bad ones, shares among those that are known, the unit of what is predicted."""

import pytest
import torch

from graphattn.recipes import NodeRegression
from graphattn.recipes.measures import r2
from tests.recipes import toys

BRIEF = NodeRegression(layers=2, hidden_channels=16).scheduled(epochs=5)


def test_shares_are_drawn_among_the_nodes_whose_number_is_known():
    data = toys.levels()
    task = BRIEF.read(data, (0.6, 0.2, 0.2), 0)
    parts = [*task.train, *task.parts["validation"], *task.parts["test"]]
    assert sum(task.counts.values()) == int(data.y.isfinite().sum()) == 108
    assert torch.stack([part.nodes for part in parts]).sum(0).equal(data.y.isfinite().long())


def test_predictions_are_in_the_unit_of_the_targets():
    data = toys.levels()
    trained = BRIEF.scheduled(epochs=40).train(data, progress=False)
    known = data.test_mask
    error = (trained.predict(data)[known] - data.y[known]).square().mean().sqrt()
    assert (
        float(error) == pytest.approx(trained.figures["test"]["rmse"], rel=1e-4) and trained.predict(data).min() > 900
    )


def test_columns_and_whole_numbers_are_taken():
    data = toys.levels()
    expected = BRIEF.train(data, progress=False).figures
    data.y = data.y[:, None].float()
    assert BRIEF.train(data, progress=False).figures == expected
    data.y = torch.arange(120)
    assert BRIEF.train(data, progress=False).is_finished


@pytest.mark.parametrize(
    "y, message",
    [
        (None, r"no targets to learn from \(got y=None\)"),
        (torch.ones(120, 2), r"one target each \(got 120 nodes and y of \[120, 2\]\); choose a column"),
        (torch.ones(119), "one target each"),
        (torch.ones(120), r"all the same \(got 1.0, "),
        (torch.full((120,), torch.nan), "nan or infinite; take them out of the masks"),
    ],
)
def test_what_cannot_be_learned_from(y, message):
    data = toys.levels()
    data.y = y
    with pytest.raises(ValueError, match=message):
        BRIEF.train(data, progress=False)


def test_one_example_has_no_variance():
    assert r2(torch.ones(1), torch.zeros(1)) != r2(torch.ones(1), torch.zeros(1))  # nan
    assert r2(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])) == 1
