"""What a .tflite file tells of its images and classes: TFLite's metadata (metadata_schema.fbs), by fields' numbers.

Nobody has verified these bytes: what cannot be read counts as absent.
"""

import io
import struct
import zipfile

from flatbuffers import number_types
from flatbuffers.encode import Get
from flatbuffers.table import Table

IDENTIFIER = b"M001"
NORMALIZATION = 1  # NormalizationOptions in the union of process units
MAX_LABEL_BYTES = 1 << 22

Pixels = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std of each channel


def read_normalization(metadata: bytes, channels: int) -> Pixels | None:
    """(pixel - mean) / std of the first input, one of each for every channel."""
    if metadata[4:8] != IDENTIFIER:
        return None
    try:
        root = Table(metadata, Get(number_types.UOffsetTFlags.packer_type, metadata, 0))
        tensor = _tables(_tables(root, 3)[0], 2)[0]  # of the first subgraph the first input
        for unit in _tables(tensor, 4):
            kind = unit.Offset(4)
            if kind and unit.Get(number_types.Uint8Flags, kind + unit.Pos) == NORMALIZATION:
                options = Table(metadata, unit.Indirect(unit.Offset(6) + unit.Pos))
                mean, std = (_floats(options, number) for number in (0, 1))
                if mean and std and all(len(values) in (1, channels) for values in (mean, std)) and all(std):
                    return _each(mean, channels), _each(std, channels)
    except (struct.error, IndexError, ValueError, TypeError, OverflowError):
        return None
    return None


def read_labels(content: bytes) -> tuple[str, ...]:
    """The lines of the first text file in the archive behind the model."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as files:
            for entry in files.infolist():
                if entry.filename.endswith(".txt") and entry.file_size <= MAX_LABEL_BYTES:
                    with files.open(entry) as file:
                        return tuple(file.read(MAX_LABEL_BYTES).decode().splitlines())
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, RuntimeError, OSError, EOFError):
        return ()
    return ()


def _each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _tables(table: Table, number: int) -> list[Table]:
    place = table.Offset(4 + 2 * number)
    if not place:
        return []
    start = table.Vector(place)
    return [Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(table.VectorLen(place))]


def _floats(table: Table, number: int) -> tuple[float, ...]:
    place = table.Offset(4 + 2 * number)
    if not place:
        return ()
    start = table.Vector(place)
    return tuple(table.Get(number_types.Float32Flags, start + 4 * i) for i in range(table.VectorLen(place)))
