"""What modules were made with: the arguments of their constructors, by which they can be named in a file and made again."""

import functools
import inspect
from collections.abc import Iterable
from typing import Any

from torch.nn import Module

from graphattn.nn.other_names import check_names

ARGUMENTS = "_made_with"


def remember_arguments(kinds: Iterable[type[Module]]) -> None:
    """From now on objects of these classes remember what they are made with; those of subclasses, made otherwise, do not.
    Arguments that other libraries call otherwise are named in the error."""
    for kind in kinds:
        kind.__init__ = remembering(kind, kind.__init__)  # type: ignore[method-assign]


def remembering(kind: type[Module], init: Any) -> Any:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        check_names(kind.__name__, signature, kwargs)
        init(self, *args, **kwargs)
        if type(self) is kind:
            self.__dict__[ARGUMENTS] = given(signature, self, args, kwargs)

    return remember


def given(signature: inspect.Signature, owner: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, but for `self`; those of `**kwargs` beside the others.

    Raises:
        TypeError: if the constructor takes any number of arguments without names.
    """
    arguments: dict[str, Any] = {}
    bound = signature.bind(owner, *args, **kwargs).arguments
    for name, value in list(bound.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(f"arguments without names cannot be kept (got *{name}); name them in the constructor")
        arguments |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return arguments


def made_with(module: Module) -> dict[str, Any] | None:
    """The arguments that a module was made with, None if it does not remember them."""
    return vars(module).get(ARGUMENTS)
