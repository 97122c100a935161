"""Trained models as programs of torch's own operations: ONNX, and what torch.export saves."""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

if TYPE_CHECKING:
    from graphattn.recipes.recipe import Recipe

SUFFIXES = (".onnx", ".pt2")
CLOSE = 1e-4  # how far a program may be from its model
NODES, EDGES = "num_nodes", "num_edges"
AXES = {"x": {0: NODES}, "pos": {0: NODES}, "edge_index": {1: EDGES}, "edge_attr": {0: EDGES}}


class Exported(NamedTuple):
    """A program that was written.

    Attributes:
        inputs: Name, dtype and shape of each, in the order in which they are given.
        output: Shape.
        error: The largest difference from the model on the example, beside the largest number if that is above 1; None where there
            is nothing to run the program.
    """

    path: str
    inputs: dict[str, str]
    output: list[int | str]
    error: float | None

    def __str__(self) -> str:
        checked = "not compared with the model, for want of onnxruntime"
        if self.error is not None:
            checked = f"compared with the model: {self.error:.0e} off at most"
        takes = (f"  takes {name}: {kind}" for name, kind in self.inputs.items())
        return "\n".join([f"{self.path}, {checked}", *takes, f"  gives {in_brackets(self.output)}"])


class Program(nn.Module):
    """The model of a recipe over one example: tensors in, what it predicts as numbers out."""

    def __init__(self, recipe: "Recipe", model: nn.Module, facts: dict[str, Any], names: list[str]):
        super().__init__()
        self.recipe, self.model, self.facts, self.names = recipe, model, facts, names

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.recipe.answer(self.model, dict(zip(self.names, tensors, strict=True)), self.facts)


@torch.no_grad()
def write_program(
    recipe: "Recipe", model: nn.Module, facts: dict[str, Any], example: Any, path: str | os.PathLike[str]
) -> Exported:
    """What `Trained.export` does."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a program is a file that ends with one of {list(SUFFIXES)} (got '{path}')")
    tensors = recipe.tensors(example, facts)
    program = Program(recipe, model, facts, list(tensors)).eval()
    expected = program(*tensors.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    traced = trace(program, tensors)
    if path.suffix == ".onnx":
        write_onnx(traced, list(tensors), path)
        found = run_onnx(path, tensors)
    else:
        torch.export.save(traced, path)
        found = torch.export.load(path).module()(*tensors.values())
    error = None if found is None else difference(found, expected)
    if error is not None and not error <= CLOSE:
        raise ValueError(f"the program '{path}' says something else than the model (by {error:.2g}); tell us of it")
    inputs = {name: f"{str(x.dtype).removeprefix('torch.')} {named(x, name)}" for name, x in tensors.items()}
    is_of_nodes = expected.dim() > 0 and expected.size(0) == tensors["x"].size(0) and recipe.is_of_nodes
    output = [NODES if is_of_nodes and axis == 0 else size for axis, size in enumerate(expected.shape)]
    return Exported(str(path), inputs, output, error)


def difference(found: Tensor, expected: Tensor) -> float:
    if not expected.numel():
        return 0.0
    return float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))


def named(x: Tensor, name: str) -> str:
    return in_brackets(AXES[name].get(axis, size) for axis, size in enumerate(x.shape))


def in_brackets(sizes: Iterable[int | str]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def trace(program: Program, tensors: dict[str, Tensor]) -> ExportedProgram:
    dims = {name: Dim(name, min=1) for name in (NODES, EDGES)}
    sizes = tuple({axis: dims[name] for axis, name in AXES[each].items()} for each in tensors)
    return torch.export.export(program, tuple(tensors.values()), dynamic_shapes=(sizes,))


def write_onnx(traced: ExportedProgram, names: list[str], path: Path) -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"ONNX needs onnx and onnxscript ({error}); pip install 'graphattn[export]'") from error
    with only_errors("torch.onnx", "onnxscript", "onnx_ir"):
        torch.onnx.export(traced, (), path, input_names=names, output_names=["predicted"], dynamo=True, verbose=False)


@contextmanager
def only_errors(*names: str) -> Iterator[None]:
    """Loggers say no more than errors, and nothing warns: what exporters skip is nothing to a user."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def run_onnx(path: Path, tensors: dict[str, Tensor]) -> Tensor | None:
    """What the file says; None without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {name: np.asarray(x) for name, x in tensors.items()})
    return torch.as_tensor(found)
