"""The little of protobuf's wire form with which weights move in and out of messages uncopied."""

from collections.abc import Sequence
from typing import BinaryIO

from google.protobuf.message import Message

LENGTH_DELIMITED = 2  # wire type of messages, strings and packed fields


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
            file.write(type(message)(**{field.name: value}).SerializeToString(deterministic=True))
            continue
        for item in [value] if isinstance(value, Message) else value:
            file.write(length_delimited(field.number, item.ByteSize()))
            if len(path) > 1:
                write_message(file, item, path[1:])
            else:
                file.write(item.SerializeToString(deterministic=True))
