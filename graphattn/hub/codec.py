"""Arguments of models as JSON and back: numbers, strings, lists, and graphattn's own modules, normalizers and scores."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import Module

from graphattn.hub.names import FORMULAS, FUNCTIONS, MODULES
from graphattn.nn.made_with import made_with

HOW = (
    "a model is saved by numbers, strings, lists, dicts, and graphattn's own modules, normalizers and scores; write a class"
    " with HubMixin that makes the rest from such arguments"
)


class Encoder:
    """Values -> JSON. An object that comes twice is written once, and pointed to."""

    def __init__(self) -> None:
        self.written: dict[int, dict[str, Any]] = {}
        self.kept: list[Any] = []  # so that no other object gets its id

    def encode(self, value: Any, name: str) -> Any:
        """The JSON of a value, which errors call `name`.

        Raises:
            TypeError: for what JSON and the table of classes do not have.
        """
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, (np.bool_, np.integer, np.floating)):
            return value.item()
        if type(value) is list:
            return [self.encode(one, f"{name}[{place}]") for place, one in enumerate(value)]
        if type(value) is tuple:
            return {"tuple": self.encode(list(value), name)}
        if type(value) is dict:
            return {"dict": [[self.encode(key, f"a key of {name}"), self.encode(value[key], name)] for key in value]}
        if id(value) in self.written:
            node = self.written[id(value)]
            node.setdefault("number", len([one for one in self.written.values() if "number" in one]))
            return {"same_as": node["number"]}
        node = self.encode_object(value, name)
        self.written[id(value)] = node
        self.kept.append(value)
        return node

    def encode_object(self, value: Any, name: str) -> dict[str, Any]:
        for known, function in FUNCTIONS.items():
            if value is function:
                return {"function": known}
        kind = type(value)
        if isinstance(value, Module):
            if MODULES.get(kind.__name__) is not kind:
                raise TypeError(f"'{name}' is a {kind.__name__}, which no configuration can name: {HOW}")
            arguments = made_with(value)
            if arguments is None:
                raise TypeError(
                    f"'{name}' is a {kind.__name__} that does not know what it was made with (accelerate, or a pickle of an"
                    " older version, has made it); make it by its constructor and load its state_dict"
                )
        elif is_dataclass(value) and FORMULAS.get(kind.__name__) is kind:
            arguments = {field.name: getattr(value, field.name) for field in fields(value)}
        else:
            what = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise TypeError(f"'{name}' cannot be kept in a configuration (got {what}): {HOW}")
        encoded = {key: self.encode(argument, f"{name}.{key}") for key, argument in arguments.items()}
        return {"class": kind.__name__, "arguments": encoded}


class Decoder:
    """JSON -> values, of the classes and functions that graphattn names."""

    def __init__(self) -> None:
        self.made: dict[int, Any] = {}

    def decode(self, node: Any) -> Any:
        """The value.

        Raises:
            ValueError: for what `Encoder` does not write.
        """
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if isinstance(node, list):
            return [self.decode(one) for one in node]
        reads: dict[str, Callable[[Any], Any]] = {
            "tuple": lambda node: tuple(self.decode(node["tuple"])),
            "dict": lambda node: {self.decode(key): self.decode(value) for key, value in node["dict"]},
            "same_as": lambda node: self.made[node["same_as"]],
            "function": lambda node: FUNCTIONS[node["function"]],
            "class": self.make,
        }
        for name, read in reads.items():
            if isinstance(node, dict) and name in node:
                try:
                    return read(node)
                except (KeyError, TypeError) as error:
                    raise ValueError(
                        f"the configuration does not fit this version of graphattn: {error!r} (got {node!r:.200})"
                    ) from error
        raise ValueError(f"the configuration was not written by graphattn (got {node!r:.200})")

    def make(self, node: dict[str, Any]) -> Any:
        kind = (MODULES | FORMULAS)[node["class"]]
        made = kind(**{name: self.decode(value) for name, value in node["arguments"].items()})
        if "number" in node:
            self.made[node["number"]] = made
        return made
