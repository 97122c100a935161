"""What a model would lose if it were made again from its arguments."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.nn import Module

from graphattn.hub.codec import Encoder
from graphattn.nn.acceleration import restored

LIBRARIES = "graphattn", "torch", "torch_geometric"


def check_made_again(model: Module, again: Module) -> None:
    """Raise ValueError where `again`, made from the configuration of `model`, differs from it in more than its weights."""
    found = list(differences(model, again))
    if found:
        raise ValueError(
            f"the model is no longer what its constructor makes: {'; '.join(found[:5])}. Make it with these options, so that"
            " they are kept"
        )


def differences(model: Module, again: Module) -> Iterator[str]:
    ours, theirs = dict(model.named_modules()), dict(again.named_modules())
    changed: list[str] = []
    for name in sorted(ours.keys() | theirs.keys()):
        if any(name.startswith(f"{outer}.") for outer in changed):
            continue
        mine, other = ours.get(name), theirs.get(name)
        where = f"{name}." if name else ""
        if mine is None or other is None or restored(type(mine)) is not restored(type(other)):
            changed.append(name)
            kinds = ["no module" if one is None else type(one).__name__ for one in (mine, other)]
            yield f"{name} is {kinds[0]}, not {kinds[1]}"
        elif type(mine).__module__.partition(".")[0] in LIBRARIES:
            yield from (f"{where}{line}" for line in other_options(vars(mine), vars(other)))


def other_options(mine: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Options of a layer that were set after it was made."""
    for name in sorted(mine.keys() | other.keys()):
        if name.startswith("_") or name == "training":
            continue
        try:
            both = [Encoder().encode(one.get(name), name) for one in (mine, other)]
        except TypeError:  # no option: a cache, or what the constructor makes
            continue
        is_lazy = name == "in_channels" and both[1] == -1  # the first call has found it out
        if both[0] != both[1] and not is_lazy:
            yield f"{name} is {mine.get(name)!r}, not {other.get(name)!r}"
