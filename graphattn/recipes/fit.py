"""The loop that trains every model: steps, epochs, the choice of one epoch, and going on after an interruption."""

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from graphattn.recipes.checkpoint import chance, read_whole, set_chance, write_whole
from graphattn.recipes.choice import Choice
from graphattn.recipes.log import Log
from graphattn.recipes.schedule import Schedule, groups_of

Loss = Callable[[Any, Any], Tensor]


class Batches(Sized, Iterable[Any], Protocol):
    """What an epoch goes through: a DataLoader, a list of batches."""


@dataclass
class Keep:
    """Where and when training is written down, so that it can go on.

    Args:
        path: Of the checkpoint: what `fit` needs to go on with the result of one long run.
        resume: Whether to go on from it; without a file there, training starts.
        every: Steps after which it is written, besides the end of each epoch.
        minutes: Of training in this call, at most; what is left is done by another call that resumes.
        recipe: Plain values that decide the result. A checkpoint of others is refused.
    """

    path: str | os.PathLike[str]
    resume: bool = False
    every: int | None = None
    minutes: float | None = None
    recipe: Any = None


@dataclass
class Fit:
    """What training came to.

    Attributes:
        model: The model with the weights of the reported epoch, in evaluation mode.
        history: A dict for each epoch: its mean 'training loss', and what `evaluate` gave.
        epoch: The reported one, counted from 0.
        is_finished: False if the minutes were over before the epochs.
        seconds: Of this process on all its cores, over all calls.
        steps: Done so far.
    """

    model: nn.Module
    history: list[dict[str, float]]
    epoch: int
    is_finished: bool
    seconds: float
    steps: int


def fit(
    model: nn.Module,
    batches: Batches | Callable[[int], Batches],
    loss: Loss,
    schedule: Schedule,
    *,
    evaluate: Callable[[Any], dict[str, float]] | None = None,
    choice: Choice | None = None,
    keep: Keep | None = None,
    log: Log | None = None,
    title: str = "",
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Fit:
    """Trains a model; its weights are then those of the epoch that is reported, whose figures are in the history.

    Args:
        model: Trained in place.
        batches: Of an epoch, or a function epoch -> these. Drawn with torch's, Python's or NumPy's own random numbers only.
        loss: (model, batch) -> a number.
        schedule: Epochs, learning rates, averaging, ...
        evaluate: model in evaluation mode -> numbers of the validation part. It gets the averaged model where there is one.
        choice: Of the epoch by what `evaluate` gives; None keeps the last one.
        keep: Writes checkpoints, and goes on from one.
        log: (epoch, numbers), as `tensorboard(folder)` gives one.
        title: Of the bar that shows the progress, on a terminal; '' shows none.
        report: (epoch, numbers) after every epoch.

    Raises:
        ValueError: if there are no batches, or a checkpoint is of another recipe.
        FloatingPointError: if the loss is not finite; the model is then as it was before that step.
    """
    training = Training(model, batches, schedule, choice)
    if keep is not None and keep.resume and Path(keep.path).is_file():
        training.load(keep)
    start = time.perf_counter()
    is_over = training.is_over
    progress = tqdm(
        total=training.num_epochs,
        initial=len(training.history),
        desc=title,
        leave=False,
        disable=None if title else True,
    )
    with progress:
        while not is_over:
            if not training.run_epoch(loss, keep, start):
                break
            numbers = training.end_epoch(evaluate)
            progress.update()
            progress.set_postfix({name: f"{value:.4g}" for name, value in numbers.items()})
            for tell in (log, report):
                if tell is not None:
                    tell(len(training.history) - 1, numbers)
            is_over = training.is_over
            if keep is not None:
                training.save(keep)
                if ran_out(keep, start):
                    break
    return training.result(is_over)


def ran_out(keep: Keep | None, start: float) -> bool:
    return keep is not None and keep.minutes is not None and time.perf_counter() - start > 60 * keep.minutes


class Training:
    """All that changes in training."""

    def __init__(self, model: nn.Module, batches: Any, schedule: Schedule, choice: Choice | None):
        self.model, self.schedule, self.choice = model, schedule, choice
        self.batches_of = batches if callable(batches) and not isinstance(batches, Sized) else lambda epoch: batches
        self.num_batches = len(self.batches_of(0))
        if not self.num_batches:
            raise ValueError(
                f"there is no batch to train on (got {schedule.batch_size} examples a batch); give more examples, or smaller"
                " batches"
            )
        self.optimizer = schedule.make_optimizer(groups_of(model, schedule.weight_decay))
        self.num_epochs = schedule.num_epochs(self.num_batches)
        self.rates = schedule.make_rates(self.optimizer, self.num_epochs * self.num_batches)
        self.average = averaged(model, schedule) if schedule.averaging else None
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []  # of this epoch
        self.best: dict[str, Tensor] | None = None
        self.begun: dict[str, Any] | None = None  # the state of chance when this epoch began
        self.steps, self.seconds, self.since = 0, 0.0, time.process_time()

    @property
    def evaluated(self) -> nn.Module:
        return self.model if self.average is None else self.average.module

    @property
    def is_over(self) -> bool:
        """Whether the epochs are, or the patience is."""
        if len(self.history) >= self.num_epochs:
            return True
        if self.schedule.patience is None or self.choice is None or not self.history:
            return False
        return len(self.history) - self.choice.best(self.history) > self.schedule.patience

    def run_epoch(self, loss: Loss, keep: Keep | None, start: float) -> bool:
        """The rest of an epoch; False if the minutes were over before."""
        now = chance() if keep is not None else None
        if self.begun is not None:  # the batches of an epoch that was begun are drawn again, those seen are passed over
            set_chance(self.begun)
        elif keep is not None:
            self.begun = now
        seen = len(self.losses)
        self.model.train()
        for number, batch in enumerate(self.batches_of(len(self.history))):
            if number < seen:
                continue
            if number == seen and seen and now is not None:
                set_chance(now)
            self.step(loss, batch)
            is_last = len(self.losses) == self.num_batches
            if keep is not None and not is_last:
                if ran_out(keep, start):
                    self.save(keep)
                    return False
                if keep.every and self.steps % keep.every == 0:
                    self.save(keep)
        return True

    def step(self, loss: Loss, batch: Any) -> None:
        value = loss(self.model, batch)
        found = value.item()
        if found != found or abs(found) == float("inf"):
            raise FloatingPointError(
                f"the loss of step {self.steps + 1} is {found}; look for nan or infinite numbers in the data, or give a"
                f" smaller learning rate (got {self.schedule.lr})"
            )
        self.optimizer.zero_grad()
        value.backward()
        if self.schedule.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        self.optimizer.step()
        if self.rates is not None:
            self.rates.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.losses.append(found)
        self.steps += 1

    def end_epoch(self, evaluate: Callable[[Any], dict[str, float]] | None) -> dict[str, float]:
        numbers = {"training loss": sum(self.losses) / len(self.losses)}
        self.losses, self.begun = [], None
        if evaluate is not None:
            numbers |= evaluate(self.evaluated.eval())
        self.history.append(numbers)
        if self.choice is not None and self.choice.best(self.history) == len(self.history) - 1:
            self.best = copy.deepcopy(self.evaluated.state_dict())
        return numbers

    def result(self, is_finished: bool) -> Fit:
        if is_finished:
            weights = self.best if self.best is not None else self.evaluated.state_dict()
            self.model.load_state_dict(weights)
        epoch = self.choice.best(self.history) if self.choice is not None and self.history else len(self.history) - 1
        return Fit(self.model.eval(), self.history, epoch, is_finished, self.spent(), self.steps)

    def spent(self) -> float:
        now = time.process_time()
        self.seconds, self.since = self.seconds + now - self.since, now
        return self.seconds

    @property
    def stateful(self) -> dict[str, Any]:
        parts = {"model": self.model, "average": self.average, "optimizer": self.optimizer, "rates": self.rates}
        return {name: part for name, part in parts.items() if part is not None}

    def save(self, keep: Keep) -> None:
        state = {name: part.state_dict() for name, part in self.stateful.items()}
        state |= {"chance": chance(), "begun": self.begun, "best": self.best, "recipe": keep.recipe}
        state |= {"history": self.history, "losses": self.losses, "steps": self.steps, "seconds": self.spent()}
        write_whole(keep.path, state)

    def load(self, keep: Keep) -> None:
        state = read_whole(keep.path)
        if not isinstance(state, dict) or "begun" not in state:
            raise ValueError(f"'{keep.path}' is no checkpoint of a training; give another path, or do not resume")
        if state["recipe"] != keep.recipe:
            other = "; ".join(differences(state["recipe"], keep.recipe))
            raise ValueError(
                f"'{keep.path}' was made by another recipe: {other}; give the same arguments, or another path"
            )
        for name, part in self.stateful.items():
            part.load_state_dict(state[name])
        self.history, self.losses, self.best = state["history"], state["losses"], state["best"]
        self.steps, self.seconds, self.begun = state["steps"], state["seconds"], state["begun"]
        set_chance(state["chance"])


def averaged(model: nn.Module, schedule: Schedule) -> AveragedModel:
    """A running mean of the weights."""
    if not schedule.forget_start:
        return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(schedule.averaging))
    return AveragedModel(model, avg_fn=partial(average, decay=schedule.averaging), use_buffers=True)


def average(old: Tensor, new: Tensor, count: Tensor, decay: float) -> Tensor:
    """Exponential average of the weights, quicker in the first steps, so that the random start is forgotten."""
    seen = int(count)
    return torch.lerp(old, new, 1 - min(decay, (1 + seen) / (10 + seen))) if new.is_floating_point() else new


def differences(made_with: Any, given: Any, name: str = "") -> Iterator[str]:
    """Where the arguments of a checkpoint differ from those that are given.

    >>> list(differences({'seed': 0, 'options': {'lr': 0.1, 'heads': 2}}, {'seed': 1, 'options': {'lr': 0.1, 'heads': 4}}))
    ['seed 0 (got 1)', 'heads 2 (got 4)']
    """
    if isinstance(made_with, dict) and isinstance(given, dict):
        for key in dict.fromkeys((*made_with, *given)):
            yield from differences(made_with.get(key), given.get(key), str(key))
    elif made_with != given:
        yield f"{name} {made_with!r} (got {given!r})".strip()
