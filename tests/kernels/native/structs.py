"""Structs as the library in C exports them, and as Python declares them."""

import ctypes

from graphattn.kernels.native.library import library

MOST = 100  # fields of a struct


class Field(ctypes.Structure):
    """Field of fields.h."""

    _fields_ = (("name", ctypes.c_char_p), ("offset", ctypes.c_int64), ("size", ctypes.c_int64))


def fields_in_c(table: str) -> list[tuple[str, int, int]]:
    """(name, offset, size) of each field of a struct, from a table such as 'edges_fields'."""
    found, fields = [], (Field * MOST).in_dll(library(), table)
    while fields[len(found)].name is not None:
        field = fields[len(found)]
        found.append((field.name.decode(), field.offset, field.size))
    return found


def declared_fields(struct: type[ctypes.Structure]) -> list[tuple[str, int, int]]:
    places = [(name, getattr(struct, name)) for name, *_ in struct._fields_]
    return [(name, place.offset, place.size) for name, place in places]
