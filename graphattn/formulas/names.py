"""Names of scores and normalizers, by which kernels know what they compute."""

from collections.abc import Mapping


def check_name(of: object, ours: Mapping[str, type]) -> None:
    """Raises ValueError where the `name` of an object is none, or that of another class of `ours`, which kernels would compute."""
    name = getattr(of, "name", None)
    if not isinstance(name, str) or ours.get(name, type(of)) is not type(of):
        raise ValueError(
            f"{type(of).__name__} needs a 'name' of its own, other than {sorted(ours)}: kernels know what to compute by it"
            f" (got {name!r})"
        )
