"""CIFAR-10 from its official archive (cifar-10-python.tar.gz), on disk or downloaded.

The archive holds pickles of Python 2. They are read by an unpickler that knows four names and replaces what
they stand for by its own, so that nothing in a file is ever called.
"""

import hashlib
import io
import pickle
import tarfile
import zlib
from pathlib import Path

import numpy as np

from caffe2_common.downloads import fetch
from caffe2_common.errors import ModelError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"

# md5 of the archive and of its members, as published.
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
TRAINING = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST = {"test_batch": "40351d587109b95175f43aff81a1287e"}
META = {"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"}

SIDE, CHANNELS, CLASSES = 32, 3, 10
MAX_MEMBER_BYTES = 64 << 20  # a batch has 31 MB

Batch = tuple[np.ndarray, np.ndarray]


def read_cifar10(path: str | Path, verify: bool = True) -> tuple[Batch, Batch, list[str]]:
    """(training, test, class names) from the archive or from the folder that it unpacks to.

    A Batch is images uint8 [n, 32, 32, 3], RGB, and labels int64 [n]. path: the archive, the folder, or a
    folder that holds one of them. verify: compare the published md5 of each file. Raises ModelError where
    something is missing, damaged or other than published.
    """
    source = _find(Path(path))
    members = TRAINING | TEST | META
    contents = _read_archive(source, members) if source.is_file() else _read_folder(source, members)
    for name, md5 in members.items():
        if verify and hashlib.md5(contents[name], usedforsecurity=False).hexdigest() != md5:
            raise ModelError(f"{source}: {name} is not the published file (its md5 is not {md5})")
    pickles = {name: _unpickle(contents.pop(name), f"{source}: {name}") for name in members}
    training = [_batch(pickles[name], f"{source}: {name}") for name in TRAINING]
    images, labels = (np.concatenate(parts) for parts in zip(*training, strict=True))
    names = pickles["batches.meta"].get(b"label_names")
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise ModelError(f"{source}: batches.meta names no classes")
    test = _batch(pickles["test_batch"], f"{source}: test_batch")
    return (images, labels), test, [name.decode("ascii", "replace") for name in names]


def download_cifar10(folder: str | Path, url: str = URL, md5: str = ARCHIVE_MD5) -> Path:
    """The archive in a folder, downloaded unless it is there; checked by md5 before it takes its name."""
    path = Path(folder) / ARCHIVE
    if path.exists():
        return path
    fetch(url, path, f"md5:{md5}", remedy=f"get {ARCHIVE} elsewhere and put it into {path.parent}")
    return path


def _find(path: Path) -> Path:
    for found in (path / FOLDER, path / ARCHIVE, path):
        if found.is_file() or (found / "data_batch_1").is_file():
            return found
    raise ModelError(f"{path}: neither {ARCHIVE} nor the folder {FOLDER} is there")


def _read_folder(folder: Path, members: dict[str, str]) -> dict[str, bytes]:
    contents = {}
    for name in members:
        try:
            if (folder / name).stat().st_size > MAX_MEMBER_BYTES:
                raise ModelError(f"{folder / name}: larger than {MAX_MEMBER_BYTES >> 20} MiB")
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise ModelError(f"{folder / name}: cannot be read ({error.strerror})") from None
    return contents


def _read_archive(path: Path, members: dict[str, str]) -> dict[str, bytes]:
    """The members' contents; nothing is unpacked to disk."""
    contents = {}
    try:
        with tarfile.open(path, "r|*") as archive:
            for entry in archive:
                folder, _, name = entry.name.removeprefix("./").rpartition("/")
                if folder != FOLDER or name not in members or not entry.isfile():
                    continue
                if entry.size > MAX_MEMBER_BYTES:
                    raise ModelError(f"{path}: {name} claims {entry.size} bytes")
                if (file := archive.extractfile(entry)) is not None:
                    contents[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ModelError(f"{path}: damaged archive ({error})") from None
    missing = [name for name in members if name not in contents]
    if missing:
        raise ModelError(f"{path}: holds no {FOLDER}/{missing[0]}")
    return contents


class _Array:
    """What a pickled numpy array becomes: its state, until it has been looked at."""

    def __setstate__(self, state):
        self.state = state


class _Dtype:
    """What a pickled numpy dtype becomes: its name."""

    def __init__(self, name, *_):
        self.name = name

    def __setstate__(self, state):
        pass


class _Ndarray:
    """The class numpy.ndarray, as an argument of _reconstruct and nothing else."""


def _reconstruct(*_) -> _Array:
    return _Array()


class _Unpickler(pickle.Unpickler):
    names = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): _Ndarray,
        ("numpy", "dtype"): _Dtype,
    }

    def find_class(self, module, name):
        try:
            return self.names[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def _unpickle(content: bytes, where: str) -> dict:
    try:
        values = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ModelError(f"{where}: not a pickle of CIFAR-10 ({error})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{where}: holds no dictionary")
    return values


def _batch(values: dict, where: str) -> Batch:
    """Images and labels of one pickle: rows of 3072 bytes, the red plane first."""
    labels, data = values.get(b"labels"), values.get(b"data")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < CLASSES for label in labels):
        raise ModelError(f"{where}: its labels are no list of numbers below {CLASSES}")
    shape = (len(labels), CHANNELS * SIDE * SIDE)
    try:
        if not isinstance(data, _Array):
            raise ValueError
        _, stored, dtype, fortran, content = data.state
        fits = tuple(stored) == shape and dtype.name in (b"u1", "u1", b"|u1", "|u1")
        if not fits or not isinstance(content, bytes) or len(content) != shape[0] * shape[1]:
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise ModelError(f"{where}: its data are no {shape[0]} x {shape[1]} bytes") from None
    rows = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")
    images = rows.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.array(labels, np.int64)
