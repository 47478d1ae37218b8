"""The little of protobuf's wire form with which weights move in and out of messages uncopied."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError, Message

# Wire types
VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # the third: messages, strings, packed fields
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}

UNPACKED_FLOAT = np.dtype([("tag", "u1"), ("value", "<f4")])  # of a field below 16


def length_delimited(field_number: int, size: int) -> bytes:
    """What stands before the `size` bytes of such a field: its tag and the size, as varints."""
    return varint(field_number << 3 | LENGTH_DELIMITED) + varint(size)


def varint(number: int) -> bytes:
    """Seven bits a byte, lowest first."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def write_message(file: BinaryIO, message: Message, path: Sequence[str]) -> None:
    """Write a message's binary form, what lies on `path` (field names, outermost first) item by item.

    The bytes are those of SerializeToString; a large message is never in memory serialized as a whole.
    """
    for field, value in message.ListFields():
        if field.name != path[0]:
            file.write(_alone(message, field.name, value).SerializeToString(deterministic=True))
            continue
        for item in _items(value):
            file.write(length_delimited(field.number, _size(item, path[1:])))
            if isinstance(item, bytes):
                file.write(item)
            elif len(path) > 1:
                write_message(file, item, path[1:])
            else:
                file.write(item.SerializeToString(deterministic=True))


def _size(item: Message | bytes, path: Sequence[str]) -> int:
    """Bytes of an item's binary form. ByteSize would serialize all of it to know."""
    if isinstance(item, bytes):
        return len(item)
    if not path:
        return item.ByteSize()
    size = 0
    for field, value in item.ListFields():
        if field.name != path[0]:
            size += _alone(item, field.name, value).ByteSize()
            continue
        for inner in _items(value):
            length = _size(inner, path[1:])
            size += len(length_delimited(field.number, length)) + length
    return size


def _items(value):
    return [value] if isinstance(value, (Message, bytes)) else value


def _alone(message: Message, name: str, value) -> Message:
    """A message with one of the fields only."""
    return type(message)(**{name: value})


class Field(NamedTuple):
    """Where a field lies in a message: tag at `start`, content at `content`, the next field at `end`."""

    number: int
    wire_type: int
    start: int
    content: int
    end: int


def field_at(message: bytes | memoryview, start: int, limit: int) -> Field:
    """The field that begins at `start`, from its first bytes alone.

    Raises DecodeError for what is no field, and where it would end beyond `limit`.
    """
    tag, content = read_varint(message, start)
    wire_type = tag & 7
    if wire_type == LENGTH_DELIMITED:
        length, content = read_varint(message, content)
        end = content + length
    elif wire_type == VARINT:
        _, end = read_varint(message, content)
    elif wire_type in FIXED_BYTES:
        end = content + FIXED_BYTES[wire_type]
    else:
        raise DecodeError(f"a field of wire type {wire_type}")
    if end > limit:
        raise DecodeError(f"a field of {end - content} bytes, {limit - content} are left")
    return Field(tag >> 3, wire_type, start, content, end)


def fields(message: memoryview) -> Iterator[Field]:
    """All fields of a message, in order; raises DecodeError as field_at does."""
    start = 0
    while start < len(message):
        field = field_at(message, start, len(message))
        yield field
        start = field.end


def read_varint(message: bytes | memoryview, start: int) -> tuple[int, int]:
    """(number, where it ends); raises DecodeError where the message ends first, or the number is too long."""
    number = 0
    for count, byte in enumerate(message[start : start + 10]):
        number |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return number, start + count + 1
    raise DecodeError("a number that does not end")


def split_floats(message: memoryview, number: int) -> tuple[bytes, np.ndarray]:
    """(a message without its field `number`, that field's repeated floats, packed or one by one)."""
    rest, runs, position = [], [], 0
    while position < len(message):
        field = field_at(message, position, len(message))
        position = field.end
        if (field.number, field.wire_type) == (number, FIXED32):
            runs.append(_run_of_floats(message[field.start :]))
            position = field.start + len(runs[-1]) * UNPACKED_FLOAT.itemsize
        elif (field.number, field.wire_type) == (number, LENGTH_DELIMITED):
            if (field.end - field.content) % 4:
                raise DecodeError("a list of floats that ends within one")
            runs.append(np.frombuffer(message[field.content : field.end], "<f4"))
        else:
            rest.append(message[field.start : field.end])
    return b"".join(rest), np.concatenate(runs, dtype=np.float32) if runs else np.zeros(0, np.float32)


def _run_of_floats(message: memoryview) -> np.ndarray:
    """The values of the unpacked floats that a message begins with, as long as their tag is the same."""
    records = np.frombuffer(message, UNPACKED_FLOAT, len(message) // UNPACKED_FLOAT.itemsize)
    others = np.flatnonzero(records["tag"] != message[0])
    return records["value"][: others[0] if len(others) else len(records)]
