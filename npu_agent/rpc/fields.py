"""How many fields a message has, counted before it is decoded: decoding takes memory and time for each field, however short it is."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MOST_UNKNOWN = 100
"""Fields of one message that its definition does not have. The decoder keeps them in a time that grows with the square of their number."""

BYTES_OF_A_NUMBER = 4
"""Numbers that are packed into one field count as one field for so many bytes."""

_VARINT, _FIXED_64, _DELIMITED, _FIXED_32 = 0, 1, 2, 5


def has_at_most(data: bytes, kind: type, most: int) -> bool:
    """Return whether `data`, a message of `kind`, has at most `most` fields, those of the messages in it included.

    It looks at no more than `most` fields. Data that is no message at all is for the decoder to refuse.
    """
    return _count(data, 0, len(data), kind, most) <= most


def _count(data: bytes, at: int, end: int, kind: type, most: int) -> int:
    """Return how many fields lie between `at` and `end`, or more than `most`."""
    known = _known(kind)
    count = unknown = 0
    while at < end and count <= most:
        count += 1
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if number not in known:
            unknown += 1
            if unknown > MOST_UNKNOWN:
                return most + 1
        if wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _FIXED_64:
            at += 8
        elif wire == _FIXED_32:
            at += 4
        elif wire == _DELIMITED:
            length, at = _varint(data, at, end)
            behind = min(at + length, end)
            inner = known.get(number)
            if isinstance(inner, type):
                count += _count(data, at, behind, inner, most - count)
            elif inner == "number":
                count += (behind - at) // BYTES_OF_A_NUMBER
            at = behind
    return count


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    number = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            break
        shift += 7
    return number, at


@lru_cache(maxsize=128)
def _known(kind: Any) -> Mapping[int, type | str]:
    """Return what each field of a message holds, by its number: the kind of a message, "text" or "number"."""
    held: dict[int, type | str] = {}
    definition = kind._betterproto  # noqa: SLF001 - the library has no other place that says which message a field holds
    for number, name in definition.field_name_by_number.items():
        field = definition.meta_by_field_name[name]
        if field.proto_type in ("message", "map"):
            held[number] = definition.cls_by_field[name]
        else:
            held[number] = "text" if field.proto_type in ("string", "bytes") else "number"
    return held
