"""A trained model with all that it needs to be used, told of, saved and drawn."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from graphattn.recipes.checkpoint import write_whole
from graphattn.recipes.program import Exported, write_program
from graphattn.version import __version__

if TYPE_CHECKING:
    from graphattn.recipes.recipe import Recipe

KIND = "graphattn trained model"


@dataclass
class Trained:
    """What a recipe gives.

    Attributes:
        recipe: That made it.
        facts: Sizes, classes, words: what the model knows beyond its weights.
        model: A torch.nn.Module with the weights of the reported epoch, in evaluation mode, on the CPU.
        figures: For 'validation' and 'test' the loss and the measures, all of this model: computed again, they are the same.
        history: A dict of numbers for each epoch.
        epoch: The reported one, counted from 0.
        seed: Of the run.
        seconds: Of CPU, in training.
        counts: Examples of each part.
        is_finished: False where the minutes were over before the epochs; there are no figures then.
    """

    recipe: "Recipe"
    facts: dict[str, Any]
    model: nn.Module
    figures: dict[str, dict[str, float]]
    history: list[dict[str, float]]
    epoch: int
    seed: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    is_finished: bool = True
    is_own_model: bool = False

    @torch.no_grad()
    def predict(self, data: Any) -> Any:
        """Of new data, in the form that it was trained on; what comes back says the recipe."""
        return self.recipe.predict(self.model.eval(), data, self.facts)

    def arguments(self, data: Any) -> tuple[Any, ...]:
        """What the recipe calls the model with for an example or a network, as
        `graphattn.viz.explore(trained.model, data, args=trained.arguments)` needs it."""
        calls: list[tuple[Any, ...]] = []
        hook = self.model.register_forward_pre_hook(lambda _, args: calls.append(args))
        try:
            self.predict(data)
        finally:
            hook.remove()
        if not calls:
            raise ValueError(
                f"the model of the recipe {self.recipe.name!r} writes step by step; give explore the Data of its documentation"
            )
        return calls[0]

    def tensors(self, data: Any) -> dict[str, Tensor]:
        """An example or a network as what an exported program is called with, in this order: x, edge_index, ..."""
        return self.recipe.tensors(data, self.facts)

    def export(self, path: str | os.PathLike[str], example: Any) -> Exported:
        """Writes a program of one example or network, of any number of nodes and edges, that runs without graphattn.

        Args:
            path: `model.onnx` for ONNX (`pip install graphattn[export]`), `model.pt2` for `torch.export.load`.
            example: As for `predict`; the program is traced with it, and compared with the model on it.

        Returns:
            The names and shapes of what goes in and comes out, and how far it is from the model. It takes what `tensors` gives and
            says what `predict` says: probabilities, or numbers in the unit of the targets.

        Raises:
            ValueError: on another kind of file, several examples, or a recipe that writes step by step.
            ImportError: where ONNX is not installed.
        """
        return write_program(self.recipe, self.model.eval(), self.facts, example, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one file, which `graphattn.recipes.load` reads without running anything that is in it."""
        content = self.recipe.described(self.seed) | {
            "kind": KIND, "version": __version__, "facts": self.facts, "state": self.model.state_dict(),
            "figures": self.figures, "history": self.history, "epoch": self.epoch, "seconds": self.seconds,
            "counts": self.counts, "is_own_model": self.is_own_model,
        }  # fmt: skip
        write_whole(path, content)

    def draw(self, path: str | os.PathLike[str]) -> None:
        """The history as a picture: losses on the left, measures on the right, the reported epoch as a line.

        Raises ImportError without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError(f"pictures need matplotlib ({error}); pip install 'graphattn[viz]'") from error
        columns = [name for name in self.history[0] if not name.startswith("test ")]
        losses = [name for name in columns if name.endswith("loss")]
        figure = Figure(figsize=(10, 4), layout="constrained")
        axes = figure.subplots(1, 2)
        for ax, names in ((axes[0], losses), (axes[1], [name for name in columns if name not in losses])):
            for name in names:
                values = [numbers.get(name, float("nan")) for numbers in self.history]
                label = name if name == "training loss" else f"validation {name}"
                ax.plot(range(1, len(values) + 1), values, marker="." if len(values) < 30 else "", label=label)
            ax.axvline(self.epoch + 1, color="grey", linewidth=0.8, label="reported epoch")
            ax.set_xlabel("epoch")
            ax.legend(fontsize=8)
        figure.suptitle(f"{self.recipe.name}, seed {self.seed}")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)

    def __str__(self) -> str:
        """A table of the figures."""
        names = list(dict.fromkeys(name for figures in self.figures.values() for name in figures))
        lines = [f"{'part':<12}{'examples':>10}" + "".join(f"{name:>12}" for name in names)]
        for part, figures in self.figures.items():
            numbers = "".join(in_column(figures.get(name, float("nan"))) for name in names)
            lines.append(f"{part:<12}{self.counts.get(part, 0):>10}{numbers}")
        weights = sum(parameter.numel() for parameter in self.model.parameters())
        by = self.recipe.choice(self.facts).by
        lines.append(f"epoch {self.epoch + 1} of {len(self.history)} is reported, the best by validation {by}")
        spent = f"{self.seconds:.0f} CPU seconds, seed {self.seed}"
        lines.append(f"{self.counts.get('train', 0)} examples to train on, {weights:,} weights, {spent}")
        return "\n".join(lines)


def in_column(value: float, width: int = 12) -> str:
    """A number right-aligned in a column, with a space before it.

    >>> in_column(0.5), in_column(1234567890.5)
    ('      0.5000', '   1.235e+09')
    """
    written = f"{value:.4f}"
    return f"{written if len(written) < width else f'{value:.4g}':>{width}}"
