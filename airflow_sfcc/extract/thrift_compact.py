"""Reading and writing Thrift's compact protocol as a tree of fields, without any schema.

Parquet's footer is one such struct. A tree keeps every field, also those that this code does not know, so that what is
read and written again is the same but for what was changed on purpose.
Source: the Thrift project's specification "Thrift compact protocol encoding".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)

_INTEGERS = frozenset({I16, I32, I64})
_UUID_BYTES = 16
_LONG_LIST = 15
_DEEPEST = 64


class ThriftError(ValueError):
    """Bytes that are no struct in the compact protocol."""


@dataclass
class Field:
    """A field's type and value: bool, int, float, bytes, Items, Pairs, or a Struct.

    For writing, a struct may also be given as the bytes that it was encoded to before.
    """

    kind: int
    value: Any


Struct = dict[int, Field]
"""Fields by their ids, in the order of ids."""


@dataclass
class Items:
    """A list or set: the type of its elements, and their values."""

    kind: int
    values: list[Any]


@dataclass
class Pairs:
    """A map: the types of its keys and values, and its entries."""

    key_kind: int
    value_kind: int
    entries: list[tuple[Any, Any]]


def parse_struct(data: bytes | memoryview) -> Struct:
    """The struct that `data` begins with. Raises ThriftError when there is none."""
    try:
        return _Reader(bytes(data)).struct(0)
    except (IndexError, struct.error):
        raise ThriftError("The struct breaks off.") from None


def encode_struct(fields: Struct) -> bytes:
    """The bytes of a struct."""
    out = bytearray()
    _write_struct(out, fields)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self, depth: int) -> Struct:
        if depth > _DEEPEST:
            raise ThriftError("The struct is nested too deeply.")
        fields: Struct = {}
        last = 0
        while head := self._byte():
            kind = head & 0x0F
            last = last + (head >> 4) if head >> 4 else self._integer()
            fields[last] = Field(kind, kind == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth))
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        if kind == BINARY:
            return self._take(self._varint())
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (LIST, SET):
            return self._items(depth)
        if kind == MAP:
            return self._pairs(depth)
        if kind in (TRUE, FALSE):
            return self._byte() == TRUE
        if kind == BYTE:
            return struct.unpack("<b", self._take(1))[0]
        if kind == DOUBLE:
            return struct.unpack("<d", self._take(8))[0]
        if kind == UUID:
            return self._take(_UUID_BYTES)
        raise ThriftError(f"There is no type {kind}.")

    def _items(self, depth: int) -> Items:
        head = self._byte()
        size = head >> 4 if head >> 4 < _LONG_LIST else self._varint()
        kind = head & 0x0F
        return Items(kind, [self._value(kind, depth + 1) for _ in range(self._plausible(size))])

    def _pairs(self, depth: int) -> Pairs:
        size = self._plausible(self._varint())
        if not size:
            return Pairs(0, 0, [])
        kinds = self._byte()
        key, value = kinds >> 4, kinds & 0x0F
        return Pairs(key, value, [(self._value(key, depth + 1), self._value(value, depth + 1)) for _ in range(size)])

    def _plausible(self, size: int) -> int:
        if size > len(self._data) - self._at:
            raise ThriftError("A list is longer than the data.")
        return size

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise ThriftError("The struct breaks off.")
        self._at += size
        return taken

    def _varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
            shift += 7

    def _integer(self) -> int:
        zigzag = self._varint()
        return (zigzag >> 1) ^ -(zigzag & 1)


def _write_struct(out: bytearray, fields: Struct) -> None:
    last = 0
    for number, field in sorted(fields.items()):
        kind = (TRUE if field.value else FALSE) if field.kind in (TRUE, FALSE) else field.kind
        step = number - last
        if 0 < step < 16:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _write_integer(out, number)
        if kind not in (TRUE, FALSE):
            _write_value(out, kind, field.value)
        last = number
    out.append(0)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        _write_integer(out, value)
    elif kind == BINARY:
        _write_varint(out, len(value))
        out += value
    elif kind == STRUCT and isinstance(value, bytes):
        out += value
    elif kind == STRUCT:
        _write_struct(out, value)
    elif kind in (LIST, SET):
        _write_list_header(out, value.kind, len(value.values))
        for element in value.values:
            _write_value(out, value.kind, element)
    elif kind == MAP:
        _write_pairs(out, value)
    elif kind in (TRUE, FALSE):
        out.append(TRUE if value else FALSE)
    elif kind == BYTE:
        out += struct.pack("<b", value)
    elif kind == DOUBLE:
        out += struct.pack("<d", value)
    else:
        out += value


def _write_list_header(out: bytearray, kind: int, size: int) -> None:
    if size < _LONG_LIST:
        out.append(size << 4 | kind)
    else:
        out.append(_LONG_LIST << 4 | kind)
        _write_varint(out, size)


def _write_pairs(out: bytearray, pairs: Pairs) -> None:
    _write_varint(out, len(pairs.entries))
    if pairs.entries:
        out.append(pairs.key_kind << 4 | pairs.value_kind)
    for key, value in pairs.entries:
        _write_value(out, pairs.key_kind, key)
        _write_value(out, pairs.value_kind, value)


def _write_varint(out: bytearray, number: int) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write_integer(out: bytearray, number: int) -> None:
    _write_varint(out, number << 1 if number >= 0 else (-number << 1) - 1)
