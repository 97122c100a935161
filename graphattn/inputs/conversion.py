"""to_graphs: a whole data set, such as torchvision's or Hugging Face's, as a list of graphs."""

import pickle
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch_geometric.data import Data

from graphattn.graphs.sizes import parse_integer
from graphattn.inputs.failures import Failure

LONG = 1000  # examples from which a bar is shown
CHUNK = 64  # examples that a worker converts at a time


class Graphs(list[Data]):
    """The graphs of a data set, in its order; `failed` lists the examples that are not among them, and why."""

    def __init__(self, graphs: Iterable[Data] = (), failed: Iterable[Failure] = ()):
        super().__init__(graphs)
        self.failed = list(failed)


def to_graphs(
    dataset: Any,
    convert: Callable[..., Data],
    *,
    x: str | int | None = None,
    y: str | int | None = None,
    num_workers: int = 0,
    progress: bool | None = None,
    **options: Any,
) -> Graphs:
    """Each example of a data set as a graph.

    An example is a pair (input, label), as torchvision's data sets have them, a row {column: value}, as those of Hugging
    Face have them, or the input itself. What cannot be converted is left out, with a warning, and listed in `failed` of the
    result.

    Args:
        dataset: Anything with examples in an order: a data set, a list, a generator.
        convert: input -> Data, such as `from_image`, `from_text`, `from_waveform` or `from_smiles`.
        x: Where the input of an example is: a column, or a place in the tuple; the first by default, and in rows of several
            columns it must be named.
        y: Where the label is, which becomes `data.y`: the second place of a tuple by default, and in rows none. Numbers become
            tensors [1], tensors and arrays [1, ...], so that batches stack them. An example whose label is nan cannot be
            converted; of several targets, some may be nan.
        num_workers: Processes that convert; 0 converts in this one. The data set must then have a length.
        progress: Whether a bar (of tqdm) is shown; None shows one for long data sets in a terminal.
        **options: Further arguments of `convert`.

    Returns:
        The graphs. `data.place`, a tensor [1], is the place of the example in the data set.

    Raises:
        ValueError: if nothing could be converted, or the column of the input is not named.

    Example:
        >>> from graphattn.inputs import from_text, to_graphs
        >>> graphs = to_graphs([("the cat", 0), ("a dog sat", 1)], from_text)
        >>> [(data.num_nodes, data.y.tolist()) for data in graphs]
        [(2, [0]), (3, [1])]
    """
    num_workers = parse_integer("num_workers", num_workers)
    to_graph = partial(graph_of_example, convert=convert, x=x, y=y, options=options)
    size = len(dataset) if hasattr(dataset, "__len__") else None
    if num_workers and (size is None or not hasattr(dataset, "__getitem__")):
        raise ValueError(
            f"'num_workers' needs a data set with a length and examples by place (got {type(dataset).__name__}); take"
            " num_workers=0, or list(dataset)"
        )
    run = by_workers(dataset, to_graph, size, num_workers) if num_workers and size else one_by_one(dataset, to_graph)
    graphs = Graphs()
    for result in with_bar(run, size, progress):
        if isinstance(result, Failure):
            graphs.failed.append(result)
        else:
            graphs.append(result)
    report(graphs)
    return graphs


def graph_of_example(
    index: int, example: Any, convert: Callable[..., Data], x: Any, y: Any, options: dict[str, Any]
) -> Data:
    given, label = parts_of(example, x, y)
    data = convert(given, **options)
    if not isinstance(data, Data):
        raise TypeError(f"'convert' must give a Data (got {type(data).__name__})")
    if label is not None:
        data.y = as_label(label)
        check_known(data.y)
    data.place = torch.tensor([index])  # `data.index` would count on from one graph of a batch to the next
    return data


def parts_of(example: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The input and the label of an example."""
    if isinstance(example, Mapping):
        if x is None and len(example) > 1:
            raise ColumnNotNamed(
                f"'x' must name the column of the input, and 'y' that of the label (got columns {list(example)})"
            )
        return example[next(iter(example)) if x is None else x], None if y is None else example[y]
    if isinstance(example, tuple):
        label = 1 if y is None and len(example) > 1 else y
        return example[0 if x is None else x], None if label is None else example[label]
    if x is not None or y is not None:
        raise ColumnNotNamed(f"'x' and 'y' are of rows and tuples (got an example of type {type(example).__name__})")
    return example, None


class ColumnNotNamed(ValueError):
    """A mistake of the call, not of an example."""


def as_label(label: Any) -> Any:
    """Numbers with an axis for the examples of a batch; anything else, such as a text, as it is."""
    if isinstance(label, str | bytes | Mapping):
        return label
    try:
        return torch.as_tensor(label)[None]
    except (TypeError, ValueError, RuntimeError):
        return label


def check_known(label: Any) -> None:
    """Raises ValueError on a label that is nan and nothing else, of which nothing can be learned."""
    if isinstance(label, torch.Tensor) and label.is_floating_point() and label.numel() and bool(label.isnan().all()):
        raise ValueError("its label is nan, which stands for unknown; leave it out, or give no 'y'")


# How examples are gone through ----------------------------------------------------------------------------------------


def one_by_one(dataset: Any, to_graph: Callable[[int, Any], Data]) -> Iterator[Data | Failure]:
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        for index, example in enumerate(dataset):
            yield attempt(to_graph, index, {index: example}.__getitem__)
        return
    for index in range(len(dataset)):
        yield attempt(to_graph, index, dataset.__getitem__)


def attempt(to_graph: Callable[[int, Any], Data], index: int, read: Callable[[int], Any]) -> Data | Failure:
    """An example that cannot be read is as good as one that cannot be converted."""
    try:
        return to_graph(index, read(index))
    except (ColumnNotNamed, ImportError):
        raise
    except Exception as error:
        return Failure(f"place {index}", f"{type(error).__name__}: {error}", index)


def by_workers(
    dataset: Sequence[Any], to_graph: Callable[[int, Any], Data], size: int, num_workers: int
) -> Iterator[Data | Failure]:
    """In order, converted by processes that have the data set from their start."""
    starts = range(0, size, CHUNK)
    with ProcessPoolExecutor(num_workers, initializer=start_worker, initargs=(dataset, to_graph)) as pool:
        yield from chain.from_iterable(map(pickle.loads, pool.map(convert_chunk, starts)))


_OF_WORKER: dict[str, Any] = {}


def start_worker(dataset: Any, to_graph: Callable[[int, Any], Data]) -> None:
    torch.set_num_threads(1)
    _OF_WORKER.update(dataset=dataset, to_graph=to_graph)


def convert_chunk(start: int) -> bytes:
    """As bytes: torch would send each tensor by a file of its own, of which a process may open few."""
    dataset, to_graph = _OF_WORKER["dataset"], _OF_WORKER["to_graph"]
    stop = min(start + CHUNK, len(dataset))
    return pickle.dumps([attempt(to_graph, index, dataset.__getitem__) for index in range(start, stop)])


def with_bar(run: Iterator[Any], size: int | None, progress: bool | None) -> Iterator[Any]:
    shows = progress if progress is not None else (size or 0) >= LONG and sys.stderr.isatty()
    if not shows:
        return run
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        if progress:
            raise ImportError("'progress' needs tqdm: pip install tqdm") from error
        return run
    return iter(tqdm(run, total=size, desc="graphs", unit="example"))


def report(graphs: Graphs) -> None:
    if not graphs.failed:
        return
    first = graphs.failed[0]
    message = (
        f"{len(graphs.failed)} of {len(graphs) + len(graphs.failed)} examples could not be converted, the first of them"
    )
    message = f"{message} at place {first.place}: {first.reason}"
    if not graphs:
        raise ValueError(message)
    warnings.warn(f"{message}; `failed` of the result lists them", stacklevel=3)
