"""Where downloads and compiled indexes live on this machine."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """$CAFFE2_MOBILE_CACHE, else caffe2-mobile in $XDG_CACHE_HOME or ~/.cache; not made here."""
    if chosen := os.environ.get("CAFFE2_MOBILE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caffe2-mobile"
