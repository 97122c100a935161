"""Types of nodes and edges, which may have any name, as keys of torch's ModuleDict, which may not."""

from collections.abc import Iterable
from typing import Any

from torch.nn import Module, ModuleDict
from torch_geometric.typing import EdgeType, NodeType

ESCAPED = "%._"  # letters that escaped names hold in another form: a dot ends a key, underscores join it


def module_names(types: Iterable[NodeType | EdgeType]) -> dict[NodeType | EdgeType, str]:
    """A key for each type, all different: the name itself, of edges joined by '__', where a ModuleDict takes it and no other
    type has it too; otherwise the name in angle brackets, its dots, underscores and per cent signs by their numbers.

    >>> module_names(["film", "type", "film.actor"])
    {'film': 'film', 'type': '<type>', 'film.actor': '<film%2Eactor>'}
    >>> list(module_names([("a", "b__c", "d"), ("a__b", "c", "d"), ("a", "to", "d")]).values())
    ['<a__b%5F%5Fc__d>', '<a%5F%5Fb__c__d>', 'a__to__d']
    """
    types, taken = list(dict.fromkeys(types)), ModuleDict()
    plain = {kind: "__".join(parts_of(kind)) for kind in types}
    shown = list(plain.values())
    special = {
        kind for kind, name in plain.items() if not name or "." in name or hasattr(taken, name) or shown.count(name) > 1
    }
    while clashes := {kind for kind in types if kind not in special and plain[kind] in map(escaped, special)}:
        special |= clashes
    return {kind: escaped(kind) if kind in special else plain[kind] for kind in types}


def parts_of(kind: NodeType | EdgeType) -> tuple[str, ...]:
    return (kind,) if isinstance(kind, str) else kind


def escaped(kind: NodeType | EdgeType) -> str:
    """The type in angle brackets; no two types of one kind have the same."""
    parts = (
        "".join(f"%{ord(letter):X}" if letter in ESCAPED else letter for letter in part) for part in parts_of(kind)
    )
    return f"<{'__'.join(parts)}>"


class TypedModules(ModuleDict):
    """A module for each type of edges, found by the type as well as by its key, as explainers of PyG look for it.

    >>> modules = TypedModules({("a", "to", "b"): Module()})
    >>> list(modules), ("a", "to", "b") in modules, modules["a", "to", "b"] is modules["a__to__b"]
    (['a__to__b'], True, True)
    """

    def __init__(self, modules: dict[EdgeType, Module]):
        names = module_names(modules)
        super().__init__({names[kind]: module for kind, module in modules.items()})
        self.names = names

    def __getitem__(self, kind: EdgeType | str) -> Any:
        return super().__getitem__(self.names[kind] if isinstance(kind, tuple) else kind)

    def __contains__(self, kind: EdgeType | str) -> bool:
        return kind in self.names if isinstance(kind, tuple) else super().__contains__(kind)
