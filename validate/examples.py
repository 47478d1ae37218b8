"""Inputs of any net from .npz files, whose arrays are called after the net's inputs."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.files import ARCHIVE_ERRORS
from caffe2_models.operators.node import listing

SUFFIX = ".npz"


@dataclass(frozen=True)
class Examples:
    """Rows of the files' arrays: each a mapping from the inputs' names to arrays [...], in the inputs' dtypes.

    rows: (file, row in it) of each. shapes: of the inputs, for one example, [1, ...].
    """

    dtypes: Mapping[str, np.dtype]
    rows: Sequence[tuple[Path, int]]
    shapes: Mapping[str, tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        path, arrays = None, {}
        for wanted, row in self.rows:
            if wanted != path:
                path, arrays = wanted, read_arrays(wanted, self.dtypes)
            yield {name: array[row] for name, array in arrays.items()}


def holds_examples(path: str | os.PathLike[str]) -> bool:
    """Whether this is such a file, or a folder of some."""
    return bool(files_in(path))


def files_in(path: str | os.PathLike[str]) -> list[Path]:
    path = Path(path)
    if path.suffix == SUFFIX and path.is_file():
        return [path]
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []


def open_examples(path: str | os.PathLike[str], dtypes: Mapping[str, np.dtype], limit: int | None) -> Examples:
    """`limit` examples, evenly spaced over all. path: a file, or a folder of files; dtypes: of the inputs.

    A file has an array [n, ...] of n examples for each input. Raises ModelError where one is missing, or arrays have
    other shapes than those of the first file.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    rows: list[tuple[Path, int]] = []
    for file in files_in(path):
        arrays = read_arrays(file, dtypes)
        found = {name: (1, *array.shape[1:]) for name, array in arrays.items()}
        shapes = shapes or found
        for name, shape in found.items():
            if shape != shapes[name]:
                raise ModelError(f"{file}: {name} is of {list(shape[1:])}, and of {list(shapes[name][1:])} before")
        rows += [(file, row) for row in range(len(next(iter(arrays.values()))))]
    if not rows:
        raise ModelError(f"{os.fspath(path)}: no examples in its {SUFFIX} files")
    if limit is not None and limit < len(rows):
        rows = [rows[i * len(rows) // limit] for i in range(limit)]
    return Examples(dtypes, rows, shapes)


def read_arrays(path: Path, dtypes: Mapping[str, np.dtype]) -> dict[str, np.ndarray]:
    """The arrays of a file that are called after inputs, [n, ...] each, in the inputs' dtypes."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in dtypes if name in archive.files}
            names = listing(archive.files)
    except (OSError, *ARCHIVE_ERRORS) as error:
        raise ModelError(f"{path}: is no file of arrays ({' '.join(str(error).split())[:80]})") from None
    if missing := [name for name in dtypes if name not in arrays]:
        raise ModelError(f"{path}: has no array for the input {missing[0]}; it has {names}")
    lengths = {array.shape[:1] for array in arrays.values()}
    if len(lengths) != 1 or () in lengths:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise ModelError(f"{path}: the first dimension counts the examples, and differs: {shapes}")
    return {name: _in_dtype(path, name, array, dtypes[name]) for name, array in arrays.items()}


def _in_dtype(path: Path, name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if array.dtype.kind not in ("fiub" if dtype.kind == "f" else "iub"):
        raise ModelError(f"{path}: {name} is of {array.dtype}; the net takes {dtype}")
    return array.astype(dtype)
