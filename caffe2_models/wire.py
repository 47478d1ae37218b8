"""The little of protobuf's wire form with which weights move in and out of messages uncopied."""

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
