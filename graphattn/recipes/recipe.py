"""What all recipes share: data in, a trained model with its figures out."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.seed import seed_everything

from graphattn.recipes.choice import Choice
from graphattn.recipes.fit import Batches, Fit, Keep, fit
from graphattn.recipes.log import tensorboard
from graphattn.recipes.schedule import Schedule
from graphattn.recipes.trained import Trained


@dataclass
class On:
    """Batches, each moved to a device when its turn comes."""

    batches: Batches
    device: torch.device

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return (batch if self.device.type == "cpu" else batch.to(self.device) for batch in self.batches)


@dataclass
class Task:
    """Data made ready for a model.

    Attributes:
        facts: What a model and its predictions need to know beyond the weights: sizes, classes, words. Tensors and plain values.
        train: Batches of an epoch.
        parts: Batches of 'validation' and 'test'.
        counts: Examples of each part.
    """

    facts: dict[str, Any]
    train: Batches
    parts: dict[str, Any]
    counts: dict[str, int] = field(default_factory=dict)

    def parts_on(self, device: torch.device) -> dict[str, Any]:
        return {name: On(batches, device) for name, batches in self.parts.items()}


@dataclass(frozen=True)
class Recipe(ABC):
    """How one kind of problem is learned. Recipes are values: `dataclasses.replace(recipe, channels=64)` is another one.

    A recipe of your own says what a subclass must: `read`, `build`, `outputs`, `loss`, `figures`, `decode`.
    """

    schedule: Schedule = Schedule()
    measure: str = ""

    name: ClassVar[str] = ""
    is_of_nodes: ClassVar[bool] = False  # whether it says something of every node

    @abstractmethod
    def choice(self, facts: dict[str, Any]) -> Choice:
        """Which epoch is reported."""

    @abstractmethod
    def read(self, data: Any, split: Any, seed: int) -> Task:
        """Checks the data and makes it ready. Raises ValueError, before anything is trained, on what cannot be learned from."""

    @abstractmethod
    def build(self, facts: dict[str, Any]) -> nn.Module:
        """A new model. Its weights are drawn with torch's random numbers."""

    @abstractmethod
    def outputs(self, model: nn.Module, batch: Any) -> Tensor:
        """What the model says of a batch."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """What training makes small."""

    @abstractmethod
    def figures(self, model: nn.Module, batches: Any) -> dict[str, float]:
        """'loss' and the measures of a part; the model is in evaluation mode."""

    @abstractmethod
    def predict(self, model: nn.Module, data: Any, facts: dict[str, Any]) -> Any:
        """Of new data, in the user's terms; the model is in evaluation mode."""

    def check_input(self, example: Any, facts: dict[str, Any]) -> None:  # noqa: B027  some take all
        """Raises ValueError on an example that `predict` cannot take."""

    def tensors(self, data: Any, facts: dict[str, Any]) -> dict[str, Tensor]:
        """One example as what an exported program is called with: x, edge_index, ..., and so on, by name."""
        raise ValueError(
            f"the model of the recipe {self.name!r} writes step by step, which is no program of tensors; export the steps:"
            " torch.export.export(trained.model, (tokens, mask)), as the page on data and models tells"
        )

    def answer(self, model: nn.Module, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Tensor:
        """What `predict` says of one example, as numbers, in operations that torch.export takes."""
        raise NotImplementedError(f"{type(self).__name__} has no 'answer'; a recipe that has 'tensors' needs it")

    def train(
        self,
        data: Any,
        *,
        split: Any = None,
        seed: int = 0,
        model: nn.Module | None = None,
        save: str | os.PathLike[str] | None = None,
        resume: bool = False,
        minutes: float | None = None,
        log: str | os.PathLike[str] | None = None,
        device: str | torch.device = "cpu",
        progress: bool | Callable[[int, dict[str, float]], None] = True,
        names: Sequence[str] | None = None,
    ) -> Trained:
        """A trained model: that of the epoch which is best on the validation part, and its figures on all parts.

        Args:
            data: As the recipe says.
            split: Shares of training, validation and test examples such as (0.8, 0.1, 0.1), or the three lists of places; for a
                network, None takes its masks, and an int the split of masks with several.
            seed: Of the weights, of the order of examples and of a split by shares.
            model: A module of your own in place of the recipe's, called as its `outputs` does.
            save: Where the trained model is written to; a checkpoint lies beside it during training.
            resume: Goes on from that checkpoint, with the result of one long run.
            minutes: Of training in this call at most; `is_finished` of the result then tells whether more are needed.
            log: A folder for TensorBoard.
            device: Where it is trained; the result is on the CPU.
            progress: Whether a bar shows it, on a terminal; or a function that is called with (epoch, numbers) after each epoch.
            names: Of the classes 0, 1, ..., as `from_csv` and `from_folder` give them; predictions then say these.

        Raises:
            ValueError: on data that cannot be learned from; the message prints what it got and says what to do.
        """
        check_place(save, resume, minutes)
        device = torch.device(device)
        task = self.read(data, split, seed)
        if names is not None:
            task.facts["names"] = names_of(task.facts, names)
        write = None if log is None else tensorboard(log)
        seed_everything(seed)
        network = (self.build(task.facts) if model is None else model).to(device)
        keep = None
        if save is not None:
            described = self.described(seed) | {"examples": task.counts}
            keep = Keep(unfinished(save), resume, minutes=minutes, recipe=described)
        found = fit(
            network, On(task.train, device), self.loss, self.schedule,
            evaluate=lambda model: self.epoch_figures(model, task.parts_on(device)), choice=self.choice(task.facts),
            keep=keep, log=write, title=self.name if progress is True else "",
            report=progress if callable(progress) else None,
        )  # fmt: skip
        trained = self.result(found, task, seed, device, model is not None)
        if save is not None and found.is_finished:
            trained.save(save)
            os.unlink(unfinished(save))
        return trained

    def result(self, found: Fit, task: Task, seed: int, device: torch.device, is_own_model: bool) -> Trained:
        """With the figures of the model that is returned, computed anew."""
        parts = task.parts_on(device) if found.is_finished else {}
        figures = {name: self.figures(found.model, batches) for name, batches in parts.items()}
        return Trained(
            self, task.facts, found.model.cpu(), figures, found.history, found.epoch, seed, found.seconds, task.counts,
            found.is_finished, is_own_model,
        )  # fmt: skip

    def epoch_figures(self, model: nn.Module, parts: Mapping[str, Any]) -> dict[str, float]:
        """What the history has of an epoch, the figures of the validation part first; nothing is chosen by others."""
        return self.figures(model, parts["validation"])

    def described(self, seed: int) -> dict[str, Any]:
        """The recipe as plain values, as files keep it."""
        return {"name": self.name, "options": asdict(self), "seed": seed}

    @classmethod
    def of(cls, options: dict[str, Any]) -> "Recipe":
        """The recipe that `described` wrote the options of."""
        options = dict(options)
        schedule = dict(options.pop("schedule"))
        schedule["betas"] = tuple(schedule["betas"])
        return cls(schedule=Schedule(**schedule), **options)

    def scheduled(self, **changes: Any) -> "Recipe":
        """The same recipe with changes of its schedule, such as epochs=3; those that are None are none.

        Epochs that are given are so many, however few the steps.
        """
        changes = {name: value for name, value in changes.items() if value is not None}
        changes |= {"least_steps": 0} if "epochs" in changes else {}
        return replace(self, schedule=replace(self.schedule, **changes))


def unfinished(save: str | os.PathLike[str]) -> str:
    return f"{os.fspath(save)}.unfinished"


def check_place(save: str | os.PathLike[str] | None, resume: bool, minutes: float | None) -> None:
    """Raises ValueError where there is no place for what is unfinished, or a model and nothing to go on with."""
    if save is None:
        if resume or minutes is not None:
            raise ValueError(
                "'resume' and 'minutes' need a place for what is unfinished (got save=None); give 'save' a path"
            )
    elif resume and os.path.exists(save) and not os.path.exists(unfinished(save)):
        raise ValueError(f"'{save}' is finished, there is nothing to resume; load it, or train anew without 'resume'")


def names_of(facts: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Of the classes that the model knows. Raises ValueError where a class has none."""
    classes = facts.get("classes")
    if classes is None or min(classes) < 0 or max(classes) >= len(names):
        raise ValueError(
            f"'names' must name the classes {classes} (got {list(names)[:20]}); leave it out for other labels"
        )
    return [str(names[label]) for label in classes]
