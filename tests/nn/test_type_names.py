"""Names of types as keys: plain ones stay, and no two are the same."""

import itertools

import torch
from torch.nn import Linear, ModuleDict

from graphattn.nn.type_names import TypedModules, module_names

PARTS = ["", "_", "__", "a", "a_", "_a", "a__b", "b", "type", ".", "%2E", "<a", "a>"]


def test_plain_names_stay():
    assert module_names(["paper", "a b", "a_b"]) == {"paper": "paper", "a b": "a b", "a_b": "a_b"}
    assert module_names([("a", "to", "b"), ("a", "of_a", "b")]) == {
        ("a", "to", "b"): "a__to__b",
        ("a", "of_a", "b"): "a__of_a__b",
    }


def test_all_keys_are_different_and_fit():
    for types in (
        list(itertools.product(PARTS, repeat=3)),
        [*PARTS, *dir(ModuleDict()), *(f"<{part}>" for part in PARTS)],
    ):
        names = module_names(types)
        assert list(names) == list(dict.fromkeys(types)) and len(set(names.values())) == len(names)
        modules = ModuleDict({name: torch.nn.Identity() for name in names.values()})
        assert len(modules) == len(names)


def test_what_is_escaped_does_not_depend_on_the_order():
    types = list(itertools.product(PARTS[:8], repeat=3))
    names = module_names(types)
    assert module_names(types[::-1]) == names


def test_modules_are_found_by_type_and_by_key():
    kinds = [("a", "b__c", "d"), ("a__b", "c", "d"), ("a", "to", "d")]
    modules = TypedModules({kind: Linear(1, place + 1) for place, kind in enumerate(kinds)})
    assert [modules[kind].out_features for kind in kinds] == [1, 2, 3] and modules["a__to__d"].out_features == 3
    assert all(kind in modules for kind in kinds) and ("a", "b", "c") not in modules and "a__b__c__d" not in modules
