"""HubMixin: models that are saved, loaded and shared with every option they were made with."""

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from torch.nn import Module
from typing_extensions import Self

from graphattn.hub.codec import Decoder, Encoder
from graphattn.hub.differences import check_made_again
from graphattn.hub.weights import load_weights, save_weights
from graphattn.nn.made_with import given
from graphattn.version import __version__

CONFIG, WEIGHTS = "config.json", "model.safetensors"
KEY = "graphattn"  # of our part of the configuration


class HubMixin(  # type: ignore[call-arg, unused-ignore]  # where huggingface_hub is not installed, it takes nothing
    PyTorchModelHubMixin,
    library_name="graphattn",
    tags=["graph-attention", "pytorch-geometric"],
    repo_url="https://github.com/graphattn/graphattn",
):
    """Gives a model of your own `save_pretrained`, `from_pretrained` and `push_to_hub` (of huggingface_hub).

    All arguments of the constructor are kept: numbers, strings, lists, tuples, dicts, and graphattn's modules (layers, positions,
    biases), normalizers and scores. What cannot be kept is refused when the model is saved: other objects and functions, and
    options that were changed after the model was made. A file that is loaded can name graphattn's own classes, no others.

    Put it before torch.nn.Module. `from_pretrained` gives the model in evaluation mode, its dtypes and bits those that were
    saved; it takes arguments of the constructor too, in place of those that were kept.

    Example:
        >>> import tempfile, torch
        >>> from graphattn import causal
        >>> from graphattn.hub import HubMixin
        >>> from graphattn.nn import GraphTransformer, RotaryPositions
        >>> class Model(HubMixin, torch.nn.Module):
        ...     def __init__(self, channels, positions=None):
        ...         super().__init__()
        ...         self.encoder = GraphTransformer(channels, 2, heads=2, positions=positions)
        ...
        ...     def forward(self, x, graph):
        ...         return self.encoder(x, graph)
        >>> model, x = Model(8, positions=RotaryPositions(1000.0)).eval(), torch.randn(4, 8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = model.save_pretrained(folder)
        ...     again = Model.from_pretrained(folder)
        >>> torch.equal(again(x, causal(4)), model(x, causal(4)))
        True
    """

    _given: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        instance = super().__new__(cls, *args, **kwargs)
        signature = inspect.signature(cls.__init__)
        try:
            arguments = given(signature, instance, args, kwargs)
        except TypeError:  # of a copy, which is made without arguments and gets those of its original; or a mistake
            arguments = {}
        object.__setattr__(instance, "_given", arguments)
        return instance

    def _save_pretrained(self, save_directory: Path) -> None:
        encoder = Encoder()  # one for all, so that arguments can share objects
        arguments = {name: encoder.encode(value, name) for name, value in self._given.items()}
        with torch.random.fork_rng(devices=[]):
            again = type(self)(**decoded(arguments))
        model = as_module(self)
        check_made_again(model, as_module(again))
        beside = save_weights(model, save_directory / WEIGHTS)
        config = {KEY: {"version": __version__, "class": type(self).__name__, "arguments": arguments, **beside}}
        (save_directory / CONFIG).write_text(json.dumps(config, indent=2))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        map_location: str | torch.device = "cpu",
        strict: bool = True,
        **model_kwargs: Any,
    ) -> Self:
        def file(name: str) -> str:
            if Path(model_id).is_dir():
                return str(Path(model_id) / name)
            options: dict[str, Any] = {"token": token, "local_files_only": local_files_only, "cache_dir": cache_dir}
            return str(hf_hub_download(model_id, name, revision=revision, force_download=force_download, **options))

        config = config_of(file(CONFIG))
        arguments = decoded(config["arguments"])
        # The base class passes on what it has read of the file, where the constructor has a `config` or takes anything.
        others = {name: value for name, value in model_kwargs.items() if name != KEY and not is_config(value)}
        model = cls(**(arguments | others))
        load_weights(as_module(model), file(WEIGHTS), config)
        as_module(model).to(map_location).eval()
        return model


def decoded(arguments: dict[str, Any]) -> dict[str, Any]:
    decoder = Decoder()
    return {name: decoder.decode(value) for name, value in arguments.items()}


def is_config(value: Any) -> bool:
    return isinstance(value, dict) and KEY in value


def config_of(path: str) -> dict[str, Any]:
    config = json.loads(Path(path).read_text())
    if not is_config(config):
        raise ValueError(f"{path} was not saved by graphattn's HubMixin (got the keys {sorted(config)[:10]})")
    return config[KEY]


def as_module(model: Any) -> Module:
    if not isinstance(model, Module):
        raise TypeError(f"HubMixin is for subclasses of torch.nn.Module (got {type(model).__name__})")
    return model
