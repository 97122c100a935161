"""Files that hold one network."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.io import read_npz
from torch_geometric.transforms import NormalizeFeatures
from torch_geometric.utils import to_undirected

from graphattn.inputs.files import check_file
from graphattn.recipes.checkpoint import read_whole

SUFFIXES = (".npz", ".pt")

# What the arrays of a file may be called; the first is PyG's name.
NAMES = {
    "x": ("x", "node_features", "features", "attr_matrix"),
    "edge_index": ("edge_index", "edges", "edge_list"),
    "edge_attr": ("edge_attr", "edge_features"),
    "y": ("y", "node_labels", "labels"),
    "train_mask": ("train_mask", "train_masks"),
    "val_mask": ("val_mask", "val_masks", "valid_mask"),
    "test_mask": ("test_mask", "test_masks"),
}
KNOWN = {name for others in NAMES.values() for name in others}


def read_network(path: str | os.PathLike[str]) -> Data:
    """A network in a file .npz, or .pt with a dict of tensors.

    The arrays have the names of PyG (x, edge_index, y, train_mask, val_mask, test_mask) or those of other collections
    (node_features, edges, node_labels, train_masks, ...), in small or large letters. Edges are [2, num_edges] or
    [num_edges, 2]; masks are [num_nodes] or, of several splits, [num_nodes, num_splits] or [num_splits, num_nodes].

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it holds no edges, or arrays of objects or words.
    """
    arrays = read_arrays(path)
    if {"adj_data", "attr_data", "labels"} <= arrays.keys():  # of the Amazon, Coauthor and CitationFull collections
        return read_npz(os.fspath(path), to_undirected=False)
    found = {}
    for name, others in NAMES.items():
        given = [other for other in others if other in arrays]
        if given:
            found[name] = arrays[given[0]]
    if "edge_index" not in found:
        raise ValueError(f"'{path}' has no edges: it needs 'edge_index' or 'edges' (got {sorted(arrays)})")
    edges = found["edge_index"]
    if edges.dim() != 2 or 2 not in edges.shape or edges.is_floating_point():
        raise ValueError(
            f"edges must be whole numbers [2, num_edges] or [num_edges, 2] (got {edges.dtype} {list(edges.shape)})"
        )
    found["edge_index"] = (edges if edges.size(0) == 2 else edges.t()).long().contiguous()
    data = Data(**found)
    if data.x is None:
        data.num_nodes = len(found["y"]) if "y" in found else int(edges.max()) + 1 if edges.numel() else 0
    for name in ("train_mask", "val_mask", "test_mask"):
        mask = data.get(name)
        if mask is not None and mask.dim() == 2 and mask.size(0) != data.num_nodes and mask.size(1) == data.num_nodes:
            data[name] = mask.t()
    return data


def prepared(data: Data, undirected: bool, normalize: bool, degrees: bool = False) -> Data:
    """As a model reads it: with the opposite of each edge, the degrees as features, and features that sum up to 1, where they are
    asked for."""
    if undirected and data.edge_index is not None:
        data.edge_index = to_undirected(data.edge_index, num_nodes=data.num_nodes)
    if degrees:
        data.x = log_degrees(data.edge_index, data.num_nodes or 0)
    return NormalizeFeatures()(data) if normalize else data


def log_degrees(edge_index: Tensor, num_nodes: int) -> Tensor:
    """log(1 + the number of incoming edges, and of outgoing ones), float32 [num_nodes, 2].

    >>> log_degrees(torch.tensor([[0, 1], [2, 2]]), 3).exp().round().int().tolist()
    [[1, 2], [1, 2], [3, 1]]
    """
    ends = (edge_index[1], edge_index[0])
    return torch.stack([torch.bincount(end, minlength=num_nodes) for end in ends], dim=1).float().log1p()


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    check_file(path)
    if Path(path).suffix == ".pt":
        return read_tensors(path)
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"'{path}' cannot be read as .npz (it is no archive); numpy.savez writes one, tables are read by --edges and --nodes"
        )
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: np.ascontiguousarray(content[name]) for name in content.files}
    except (ValueError, OSError, TypeError) as error:
        raise ValueError(f"'{path}' cannot be read as .npz with arrays of numbers ({error})") from error
    names = in_pygs_case(arrays)
    words = [name for name in arrays if names[name] in KNOWN and arrays[name].dtype.kind in "USO"]
    if words:
        raise ValueError(
            f"{words} of '{path}' hold words (got {arrays[words[0]].dtype}); give numbers: numpy.unique(y, return_inverse=True)[1]"
        )
    return {names[name]: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind in "biuf"}


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Those of a file .pt."""
    advice = "torch.save(data.to_dict(), path) writes one of a Data"
    try:
        content = read_whole(path)
    except ValueError as error:
        raise ValueError(f"'{path}' must hold a dict of tensors; {advice} ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"'{path}' must hold a dict of tensors (got {type(content).__name__}); {advice}")
    names = in_pygs_case(content)
    return {names[name]: value for name, value in content.items() if isinstance(value, Tensor)}


def in_pygs_case(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Each name, X as x where there is no x.

    >>> in_pygs_case({'X': 1, 'Y': 2, 'y': 3})
    {'X': 'x', 'Y': 'Y', 'y': 'y'}
    """
    return {name: name.lower() if name.lower() in KNOWN and name.lower() not in arrays else name for name in arrays}
