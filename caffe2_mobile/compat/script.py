"""Running a script as Python would, with caffe2 there."""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffe2_mobile.compat.importer import install

# Names that numpy dropped since scripts for Caffe2 were written.
OLD_NUMPY: dict[str, Any] = {
    "int": int,
    "float": float,
    "object": object,
    "str": str,
    "bool": bool,
    "float_": np.float64,
    "unicode_": np.str_,
    "string_": np.bytes_,
    "product": np.prod,
    "asscalar": lambda array: np.asarray(array).item(),
}


def run_script(script: str, arguments: Sequence[str] = (), replace: bool = False) -> None:
    """Run a script's file with `caffe2` as this project's, and numpy with the names it had.

    sys.argv and sys.path are as `python SCRIPT ARGS...` sets them. replace: also where a real Caffe2 is installed.
    What the script raises passes, SystemExit too.
    """
    install(replace)
    for name, value in OLD_NUMPY.items():
        if name not in np.__dict__:
            setattr(np, name, value)
    sys.argv[:] = [script, *arguments]
    sys.path[0:1] = [str(Path(script).resolve().parent)]
    runpy.run_path(script, run_name="__main__")
