"""Saving, loading and sharing graphattn's own layers and models, which need no class of one's own."""

from pathlib import Path
from typing import Any

from torch.nn import Module

from graphattn.hub.mixin import HubMixin


class Saved(HubMixin, Module):
    """One of graphattn's modules, as the argument that a file keeps."""

    def __init__(self, model: Module):
        super().__init__()
        self.model = model


def save_pretrained(model: Module, save_directory: str | Path, **options: Any) -> str | None:
    """Writes a layer or model of graphattn into a folder: its options, and its weights as safetensors.

    Args:
        model: Of a class of `graphattn.nn`, or a HubMixin.
        save_directory: The folder; it is made.
        **options: Of `save_pretrained` of huggingface_hub: push_to_hub, repo_id, model_card_kwargs, ...

    Raises:
        TypeError: if an option cannot be kept, such as a function as score.
        ValueError: if an option was changed after the model was made.

    Example:
        >>> import tempfile, torch
        >>> from graphattn import causal
        >>> from graphattn.hub import from_pretrained, save_pretrained
        >>> from graphattn.nn import GraphAttention, RotaryPositions, TopK
        >>> layer, x = GraphAttention(8, 4, 2, normalizer=TopK(2), positions=RotaryPositions()), torch.randn(5, 8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = save_pretrained(layer, folder)
        ...     again = from_pretrained(folder)
        >>> torch.equal(again(x, causal(5)), layer(x, causal(5)))
        True
    """
    return as_hub_model(model).save_pretrained(save_directory, **options)


def push_to_hub(model: Module, repo_id: str, **options: Any) -> str:
    """Uploads what `save_pretrained` writes to a repository of the Hugging Face Hub ('name/model').

    Args:
        model: Of a class of `graphattn.nn`, or a HubMixin.
        repo_id: The repository; it is made.
        **options: Of `push_to_hub` of huggingface_hub: private, token, branch, commit_message, ...
    """
    return as_hub_model(model).push_to_hub(repo_id, **options)


def from_pretrained(name_or_path: str | Path, **options: Any) -> Module:
    """The layer or model that `save_pretrained` or `push_to_hub` has saved, in evaluation mode.

    Args:
        name_or_path: A folder, or a repository of the Hugging Face Hub.
        **options: Of `from_pretrained` of huggingface_hub: revision, token, cache_dir, map_location, ...

    Raises:
        ValueError: on a file; it would be looked for on the Hub.
        FileNotFoundError: on a path that leads to no folder, and names no repository.
    """
    if Path(name_or_path).is_file():
        raise ValueError(
            f"'name_or_path' must be a folder or a repository of the Hub (got the file {str(name_or_path)!r}); files of recipes"
            " are read by graphattn.recipes.load"
        )
    if not Path(name_or_path).is_dir() and is_path(name_or_path):
        raise FileNotFoundError(
            f"there is no folder '{name_or_path}'; a repository of the Hub is named like 'name/model'"
        )
    return Saved.from_pretrained(str(name_or_path), **options).model


def is_path(name: str | Path) -> bool:
    """Whether it can be nothing but a path: a repository has a name, or one behind that of its owner."""
    return isinstance(name, Path) or name[:1] in (".", "/", "~") or "\\" in name or name.count("/") > 1


def as_hub_model(model: Any) -> HubMixin:
    if not isinstance(model, Module):
        raise TypeError(f"'model' must be a torch.nn.Module (got {type(model).__name__})")
    return model if isinstance(model, HubMixin) else Saved(model)
