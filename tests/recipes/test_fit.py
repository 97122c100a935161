"""The loop, on a model of two weights."""

import copy

import pytest
import torch
from torch import nn

from graphattn.recipes import Choice, Keep, Schedule, fit
from graphattn.recipes.fit import average


def line():
    torch.manual_seed(0)
    return nn.Linear(1, 1)


BATCHES = [torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[-1.0]])]


def loss(model, batch):
    return (model(batch) - 3 * batch - 1).square().mean()


def plain(epochs, lr=0.1, decay=None):
    """By hand: Adam, and the running mean of the weights."""
    model = line()
    optimizer, mean = torch.optim.Adam(model.parameters(), lr), copy.deepcopy(model)
    states, count = [], 0
    for _ in range(epochs):
        for batch in BATCHES:
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()
            for old, new in zip(mean.parameters(), model.parameters(), strict=True):
                old.data = (
                    new.data.clone() if count == 0 else decay * old.data + (1 - decay) * new.data if decay else new.data
                )
            count += 1
        states.append(copy.deepcopy((mean if decay else model).state_dict()))
    return states


SCHEDULE = Schedule(epochs=4, lr=0.1, weight_decay=0.0, optimizer="adam", shape="constant")


def same(model, state):
    return all(torch.allclose(value, state[name], atol=1e-6) for name, value in model.state_dict().items())


def test_it_is_plain_training():
    found = fit(line(), BATCHES, loss, SCHEDULE)
    assert same(found.model, plain(4)[-1]) and found.epoch == 3 and found.steps == 12 and found.is_finished
    assert not found.model.training


@pytest.mark.parametrize("ties, expected", [("first", 1), ("last", 2), ("loss", 2)])
def test_the_reported_epoch_is_kept(ties, expected):
    values = iter([(0.5, 1.0), (0.9, 3.0), (0.9, 2.0), (0.7, 0.1)])

    def evaluate(model):
        value, cost = next(values)
        return {"accuracy": value, "loss": cost}

    found = fit(line(), BATCHES, loss, SCHEDULE, evaluate=evaluate, choice=Choice("accuracy", ties=ties))
    assert found.epoch == expected and same(found.model, plain(4)[expected])
    assert [numbers["accuracy"] for numbers in found.history] == [0.5, 0.9, 0.9, 0.7]


def test_the_average_is_what_is_evaluated_and_kept():
    seen, averaging = [], Schedule(**{**vars(SCHEDULE), "averaging": 0.8})

    def evaluate(model):
        assert not model.training
        seen.append(copy.deepcopy(model.state_dict()))
        return {"loss": float(len(seen) == 1)}

    found = fit(line(), BATCHES, loss, averaging, evaluate=evaluate, choice=Choice("loss", higher=False, ties="first"))
    expected = plain(4, decay=0.8)
    assert all(torch.allclose(seen[i]["weight"], expected[i]["weight"], atol=1e-6) for i in range(4))
    assert found.epoch == 1 and same(found.model, expected[1])


def test_patience_counts_from_the_best_epoch():
    values = iter([3.0, 1.0, *range(2, 50)])
    schedule = Schedule(**{**vars(SCHEDULE), "epochs": 40, "patience": 5})
    choice = Choice("loss", higher=False)
    found = fit(line(), BATCHES, loss, schedule, evaluate=lambda _: {"loss": float(next(values))}, choice=choice)
    assert len(found.history) == 7 and found.epoch == 1


def test_an_epoch_of_nan_is_not_chosen():
    values = iter([float("nan"), 0.5, float("nan"), 0.4])
    choice = Choice("accuracy")
    found = fit(line(), BATCHES, loss, SCHEDULE, evaluate=lambda _: {"accuracy": next(values)}, choice=choice)
    assert found.epoch == 1


def test_a_loss_that_is_not_finite_is_told():
    with pytest.raises(FloatingPointError, match=r"the loss of step 2 is nan; look for nan .*\(got 0.1\)"):
        fit(line(), [BATCHES[0], torch.tensor([[torch.nan]])], loss, SCHEDULE)


def test_no_batches():
    with pytest.raises(ValueError, match="there is no batch to train on"):
        fit(line(), [], loss, SCHEDULE)


def test_the_quick_average_forgets_the_start_and_leaves_counters_alone():
    old, new = torch.tensor([0.0]), torch.tensor([1.0])
    assert average(old, new, torch.tensor(0), decay=0.9) == pytest.approx(0.9)
    assert average(old, new, torch.tensor(10_000), decay=0.9) == pytest.approx(0.1)
    assert average(torch.tensor(3), torch.tensor(4), torch.tensor(1), decay=0.9) == 4


@pytest.mark.parametrize("shape", ["one_cycle", "linear"])
def test_the_learning_rate_rises_and_falls(shape):
    schedule = Schedule(epochs=10, lr=0.5, shape=shape, warmup=0.3)
    optimizer = schedule.make_optimizer(line().parameters())
    rates = schedule.make_rates(optimizer, 20)
    seen = []
    for _ in range(20):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rates.step()
    top = seen.index(max(seen))
    assert 4 <= top <= 6 and max(seen) == pytest.approx(0.5, rel=0.02)
    assert seen[:top] == sorted(seen[:top]) and seen[top:] == sorted(seen[top:], reverse=True)


def test_an_interruption_leaves_the_last_checkpoint(tmp_path):
    path, whole = tmp_path / "new" / "x.unfinished", fit(line(), BATCHES, loss, SCHEDULE)

    def broken(model, batch):
        if (tmp_path / "stop").exists() and batch is BATCHES[2]:
            raise KeyboardInterrupt
        return loss(model, batch)

    def stop(epoch, _):
        if epoch == 1:
            (tmp_path / "stop").touch()

    with pytest.raises(KeyboardInterrupt):
        fit(line(), BATCHES, broken, SCHEDULE, keep=Keep(path, every=1), report=stop)
    found = fit(line(), BATCHES, loss, SCHEDULE, keep=Keep(path, resume=True))
    assert found.history == whole.history and same(found.model, whole.model.state_dict())
    assert [each.name for each in path.parent.iterdir()] == ["x.unfinished"]


def test_what_is_no_checkpoint(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="is no checkpoint of a training"):
        fit(line(), BATCHES, loss, SCHEDULE, keep=Keep(tmp_path / "x.pt", resume=True))


@pytest.mark.parametrize("num_steps", [1, 2, 9, 10, 11])
def test_one_cycle_of_few_steps(num_steps):
    """A tenth of 10 steps is one: the rate is the highest at once."""
    optimizer = torch.optim.AdamW(line().parameters())
    rates = Schedule(lr=0.1).make_rates(optimizer, num_steps)
    found = []
    for _ in range(num_steps):
        found += rates.get_last_lr()
        optimizer.step()
        rates.step()
    assert all(0 < rate <= 0.1 for rate in found) and found[-1] == pytest.approx(0.1 / 25 / 1e4)
    assert found == sorted(found, reverse=True) or num_steps == 11
    assert num_steps != 10 or found[0] == pytest.approx(0.1)
