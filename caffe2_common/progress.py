"""Progress bars."""

import sys
from collections.abc import Iterable
from typing import Any


def progress(iterable: Iterable[Any] | None = None, **options: Any) -> Any:
    """A tqdm bar on stderr, silent where stderr is no terminal; the options are tqdm's."""
    from tqdm import tqdm  # here, so that commands without a bar start faster

    return tqdm(iterable, **({"disable": None, "file": sys.stderr, "dynamic_ncols": True} | options))
