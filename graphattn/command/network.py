"""Files that hold one network."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.io import read_npz
from torch_geometric.transforms import NormalizeFeatures
from torch_geometric.utils import to_undirected

from graphattn.inputs.files import check_file
from graphattn.recipes.checkpoint import read_whole

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


def read_network(path: str | os.PathLike[str]) -> Data:
    """A network in a file .npz, or .pt with a dict of tensors.

    The arrays have the names of PyG (x, edge_index, y, train_mask, val_mask, test_mask) or those of other collections
    (node_features, edges, node_labels, train_masks, ...). Edges are [2, num_edges] or [num_edges, 2]; masks are [num_nodes] or, of
    several splits, [num_nodes, num_splits] or [num_splits, num_nodes].

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it holds no edges, or arrays of objects.
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


def prepared(data: Data, undirected: bool, normalize: bool) -> Data:
    """As a model reads it: with the opposite of each edge, and features that sum up to 1, where they are asked for."""
    if undirected and data.edge_index is not None:
        data.edge_index = to_undirected(data.edge_index, num_nodes=data.num_nodes)
    return NormalizeFeatures()(data) if normalize else data


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    check_file(path)
    if Path(path).suffix == ".pt":
        content = read_whole(path)
        if not isinstance(content, dict):
            raise ValueError(
                f"'{path}' must hold a dict of tensors (got {type(content).__name__}); save dict(data.to_dict())"
            )
        return {name: value for name, value in content.items() if isinstance(value, Tensor)}
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: np.ascontiguousarray(content[name]) for name in content.files}
    except (ValueError, OSError, TypeError) as error:
        raise ValueError(f"'{path}' cannot be read as .npz with arrays of numbers ({error})") from error
    return {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind in "biuf"}
