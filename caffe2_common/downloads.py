"""Files from the network: each is kept only if it is the one that was published.

A digest is written "sha256:HEX" or "md5:HEX"; HEX may be the first digits only, as they stand in the names of
torch.hub's files. (pooch compares whole digests only, and has no limit to what it takes.)
"""

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from caffe2_common.errors import ModelError
from caffe2_common.files import open_atomically
from caffe2_common.progress import progress

CHUNK = 1 << 20
TIMEOUT_S = 60
MAX_BYTES = 4 << 30  # of a file whose size is not known


def cache_dir() -> Path:
    """Where downloads and compiled indexes live; not made here.

    $CAFFE2_MOBILE_CACHE, else caffe2-mobile in $XDG_CACHE_HOME or ~/.cache.
    """
    if chosen := os.environ.get("CAFFE2_MOBILE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caffe2-mobile"


def is_intact(path: Path, digest: str) -> bool:
    """Whether the file is there and has this digest."""
    if not path.is_file():
        return False
    algorithm, _, wanted = digest.partition(":")
    with path.open("rb") as file:
        return _digest_of(file, algorithm).startswith(wanted)


def fetch(url: str, target: Path, digest: str, size: int | None = None, remedy: str = "", bar: bool = True) -> None:
    """Download one file, which takes its name only if it has this digest and, where it is known, this size in bytes.

    bar: show one on stderr, where that is a terminal.
    Raises ModelError, with the remedy at its end, for what cannot be had or is not the published file.
    """
    algorithm, _, wanted = digest.partition(":")
    found, received, most = hashlib.new(algorithm, usedforsecurity=False), 0, MAX_BYTES if size is None else size
    hidden: dict[str, Any] = {} if bar else {"disable": True}
    end = f"; {remedy}" if remedy else ""
    try:
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_S) as response,
            open_atomically(target) as file,
            progress(total=size or _length(response), unit="B", unit_scale=True, desc=target.name, **hidden) as shown,
        ):
            while block := response.read(min(CHUNK, most + 1 - received)):
                received += len(block)
                if received > most:
                    raise ModelError(f"{url}: larger than the {most} bytes that were published; not kept")
                found.update(block)
                file.write(block)
                shown.update(len(block))
            if not found.hexdigest().startswith(wanted):
                raise ModelError(
                    f"{url}: not the published file ({received} bytes with {algorithm} {found.hexdigest()[:12]}..., "
                    f"expected {wanted[:12]}...); not kept{end}"
                )
    except ModelError:
        raise
    except (urllib.error.URLError, TimeoutError, OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ModelError(f"{url}: cannot be downloaded ({reason}){end}") from None


def _digest_of(file, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    while block := file.read(CHUNK):
        digest.update(block)
    return digest.hexdigest()


def _length(response) -> int | None:
    return int(response.headers.get("Content-Length") or 0) or None
