"""Caffe2's MiniDB, the database that predictors are saved in: records one after the other, no index.

A record is the two lengths (int32, little-endian), the key and the value.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from caffe2_common.files import open_atomically
from caffe2_mobile.compat.runtime.serialization import CHUNK_SEPARATOR

LENGTHS = struct.Struct("<ii")

READABLE = ("minidb", "MiniDB")


@dataclass(frozen=True)
class Database:
    """What CreateDB puts into a blob."""

    path: Path

    caffe2_name = "caffe2::db::DBReader"

    def blobs(self) -> dict[str, list[bytes]]:
        """The records of each blob, by its name."""
        found: dict[str, list[bytes]] = {}
        for key, value in read_records(self.path):
            found.setdefault(key.partition(CHUNK_SEPARATOR)[0], []).append(value)
        return found


def open_database(path: str, kind: str) -> Database:
    """Raises RuntimeError for kinds of databases that are not read, and for a file that is not there."""
    require_readable(kind, path)
    if not Path(path).is_file():
        raise RuntimeError(f"Cannot open file: {path}")
    return Database(Path(path))


def require_readable(kind: str, path: str) -> None:
    if kind not in READABLE:
        raise RuntimeError(
            f"Cannot find db implementation of type {kind} (while trying to open {path}): only minidb is read here"
        )


def read_records(path: Path) -> Iterator[tuple[str, bytes]]:
    """Raises RuntimeError where the file is truncated or no MiniDB."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        while head := file.read(LENGTHS.size):
            if len(head) < LENGTHS.size:
                raise RuntimeError(f"{path}: truncated or no minidb")
            key_length, value_length = LENGTHS.unpack(head)
            if min(key_length, value_length) < 0 or file.tell() + key_length + value_length > size:
                raise RuntimeError(f"{path}: truncated or no minidb")
            yield file.read(key_length).decode(errors="replace"), file.read(value_length)


def write_records(path: Path, records: Iterable[tuple[str, bytes]]) -> None:
    """Write a database, whole or not at all."""
    with open_atomically(path) as file:
        for key, value in records:
            name = key.encode()
            file.write(b"".join([LENGTHS.pack(len(name), len(value)), name, value]))
