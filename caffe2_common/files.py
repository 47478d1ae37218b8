"""Files that are read whole, and written whole or not at all."""

import contextlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from caffe2_common.errors import ModelError

# What reading a damaged zip archive may raise, one of arrays (.npz) too.
ARCHIVE_ERRORS = (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_whole(path: str | os.PathLike[str], most: int, kind: str) -> bytes:
    """The bytes of a file of some kind, which has `most` at the most.

    Raises ModelError, in one line, for a file that is missing, larger or unreadable.
    """
    path = Path(path)
    try:
        if path.stat().st_size > most:
            raise ModelError(f"{path}: larger than {most >> 30} GiB, which no {kind} file can be")
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file under a temporary name in its own folder, then rename it: whole or not at all.

    Missing folders are made; text is written as UTF-8. Raises OSError that names the file, never the temporary one.
    """
    with open_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes its name only when the block ends without an error.

    Its mode is what the umask leaves of 0666. Raises OSError that names the file, never the temporary one.
    """
    path = Path(path)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with naming(path, temporary), open(handle, "wb") as file:
            yield file
        with naming(path):
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raises ModelError where a file could not be written in the end, so that a long run need not find out.

    Folders that are missing are made by the writing; what counts here is the nearest one that exists.
    """
    path = Path(path)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; give the name of a file")
    if not folder.is_dir():
        raise ModelError(f"{path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ModelError(f"{path}: cannot be written (no permission in {folder})")


@contextlib.contextmanager
def naming(path: Path, temporary: str | None = None) -> Iterator[None]:
    """A block in which errors of writing one file name it, whatever temporary file they are of.

    With `temporary`, only errors without a file's name of their own, or with that one, are of this file.
    """
    try:
        yield
    except OSError as error:
        if temporary is not None and error.filename not in (None, temporary):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
