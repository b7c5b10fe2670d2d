"""Reading and writing Thrift's compact protocol without any schema, as deep as is requested.

Parquet's footer is one struct with thousands of fields, of which a join changes a few. What need not be looked into is
taken as the bytes that it is encoded to; so it stays as it was, fields that this code does not know too.
Source: the Thrift project's specification "Thrift compact protocol encoding".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)

_BOOLEANS = (TRUE, FALSE)
_INTEGERS = (I16, I32, I64)
_SIZES = {TRUE: 1, FALSE: 1, BYTE: 1, DOUBLE: 8, UUID: 16}
"""Bytes of the types whose values always take as many."""
_LONG_LIST = 15
_DEEPEST = 64


class ThriftError(ValueError):
    """Bytes that are not in the compact protocol, or a value of another type than was requested."""


class Field(NamedTuple):
    """A field's type, and its value: as it is encoded, or a Struct or a list of such. A boolean's value is its type."""

    kind: int
    value: bytes | Struct | Sequence[bytes | Struct]


Struct = dict[int, Field]
"""Fields by their ids."""

Shape = Mapping[int, "Shape"]
"""The fields of a struct that are structs, or lists of structs, to be looked into; and what of those is."""


def read_struct(data: bytes, shape: Shape) -> Struct:
    """The struct that `data` begins with. Raises ThriftError when there is none of this shape."""
    try:
        return _struct(data, 0, shape)[0]
    except IndexError:
        raise ThriftError("The struct breaks off.") from None


def write_struct(fields: Struct) -> bytes:
    """The bytes of a struct, its fields in the order of their ids."""
    out = bytearray()
    _write_struct(out, fields)
    return bytes(out)


def integer(field: Field) -> int:
    """What an integer field says. Raises ThriftError when it is none."""
    if field.kind not in _INTEGERS or not isinstance(field.value, bytes):
        raise ThriftError(f"A field of type {field.kind} is no integer.")
    return _zigzag(field.value, 0)[0]


def integer_field(kind: int, number: int) -> Field:
    """A field of one of the integer types."""
    out = bytearray()
    _write_zigzag(out, number)
    return Field(kind, bytes(out))


def _struct(data: bytes, at: int, shape: Shape) -> tuple[Struct, int]:
    """The struct at a place, and where it ends. Raises IndexError when that is past the data."""
    fields: Struct = {}
    number = 0
    while head := data[at]:
        kind, at = head & 0x0F, at + 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at)
        if number in shape:
            value, at = _inner(data, at, kind, shape[number])
            fields[number] = Field(kind, value)
        else:
            end = at if kind in _BOOLEANS else _after(data, at, kind, 0)
            fields[number] = Field(kind, data[at:end])
            at = end
    return fields, at + 1


def _inner(data: bytes, at: int, kind: int, shape: Shape) -> tuple[Struct | list[bytes | Struct], int]:
    if kind == STRUCT:
        return _struct(data, at, shape)
    if kind != LIST:
        raise ThriftError(f"A value of type {kind} stands where structs should.")
    element, size, at = _list_header(data, at)
    if size and element != STRUCT:
        raise ThriftError(f"Values of type {element} stand where structs should.")
    found: list[bytes | Struct] = []
    for _ in range(size):
        fields, at = _struct(data, at, shape)
        found.append(fields)
    return found, at


def _after(data: bytes, at: int, kind: int, depth: int) -> int:
    """Where a value ends. Raises IndexError when that is past the data."""
    if kind in _INTEGERS:
        while data[at] > 0x7F:
            at += 1
        return at + 1
    if kind == BINARY:
        size, at = _varint(data, at)
        return at + size
    if depth > _DEEPEST:
        raise ThriftError("The struct is nested too deeply.")
    if kind == STRUCT:
        return _after_struct(data, at, depth + 1)
    if kind in (LIST, SET):
        element, size, at = _list_header(data, at)
        return _after_all(data, at, [element], size, depth + 1)
    if kind == MAP:
        size, at = _varint(data, at)
        return _after_all(data, at + 1, [data[at] >> 4, data[at] & 0x0F], size, depth + 1) if size else at
    if kind not in _SIZES:
        raise ThriftError(f"There is no type {kind}.")
    return at + _SIZES[kind]


def _after_struct(data: bytes, at: int, depth: int) -> int:
    while head := data[at]:
        at += 1
        if not head >> 4:
            _, at = _varint(data, at)
        kind = head & 0x0F
        if kind in _INTEGERS:  # most values are, and calls take longer than they
            while data[at] > 0x7F:
                at += 1
            at += 1
        elif kind not in _BOOLEANS:
            at = _after(data, at, kind, depth)
    return at + 1


def _after_all(data: bytes, at: int, kinds: list[int], size: int, depth: int) -> int:
    if size > len(data) - at:
        raise ThriftError("A list is longer than the data.")
    for _ in range(size):
        for kind in kinds:
            at = _after(data, at, kind, depth)
    return at


def _list_header(data: bytes, at: int) -> tuple[int, int, int]:
    """The type of a list's elements, how many there are, and where the first begins."""
    head, at = data[at], at + 1
    size, at = (head >> 4, at) if head >> 4 < _LONG_LIST else _varint(data, at)
    return head & 0x0F, size, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned integer, and where it ends."""
    result = shift = 0
    while (byte := data[at]) > 0x7F:
        result |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    return result | byte << shift, at + 1


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    """A signed integer, and where it ends."""
    number, at = _varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def _write_struct(out: bytearray, fields: Struct) -> None:
    last = 0
    for number, (kind, value) in sorted(fields.items()):
        step = number - last
        if 0 < step < 16:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _write_zigzag(out, number)
        _write_value(out, value)
        last = number
    out.append(0)


def _write_value(out: bytearray, value: bytes | Struct | Sequence[bytes | Struct]) -> None:
    if isinstance(value, bytes):
        out += value
    elif isinstance(value, dict):
        _write_struct(out, value)
    else:
        _write_list_header(out, len(value))
        for element in value:
            _write_value(out, element)


def _write_list_header(out: bytearray, size: int) -> None:
    if size < _LONG_LIST:
        out.append(size << 4 | STRUCT)
    else:
        out.append(_LONG_LIST << 4 | STRUCT)
        _write_varint(out, size)


def _write_varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write_zigzag(out: bytearray, number: int) -> None:
    _write_varint(out, number << 1 if number >= 0 else (-number << 1) - 1)
