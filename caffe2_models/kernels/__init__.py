"""The int8 kernels: an optional extension in C++, equal to caffe2_models.int8 byte for byte; and those of float images.

It is built with the package where there is a compiler; `is_available()` tells. The environment variable
CAFFE2_MODELS_KERNELS names an instruction set to use instead of the machine's fastest, or is "off":
avx512vnni, avxvnni, avx2 on x86-64, neon_i8mm, neon_dot, neon on 64-bit ARM, portable anywhere.
"""

import os
from collections.abc import Callable

from caffe2_common.errors import ModelError

VARIABLE = "CAFFE2_MODELS_KERNELS"

try:
    from caffe2_models.kernels import _int8
    from caffe2_models.kernels._int8 import SLACK, Program, ThreadPool  # noqa: F401
except ImportError:
    _int8 = None


def is_available() -> bool:
    """Whether the extension was built, and is not switched off."""
    return _int8 is not None and os.environ.get(VARIABLE) != "off"


def find(function: str) -> Callable | None:
    """A function of the extension; None where that was not built, or is switched off."""
    return getattr(_int8, function, None) if is_available() else None


def instruction_sets() -> list[str]:
    """Names of the instruction sets that this machine has kernels for, fastest first."""
    return _int8.instruction_sets() if is_available() else []


def chosen_instruction_set() -> str:
    """The one that sessions use. Raises ModelError where there are no kernels, or not those asked for."""
    if not is_available():
        raise ModelError(
            "the exact runtime needs the package's C++ extension, which was not built or is switched off: "
            "install with a C++20 compiler at hand, or use the reference runtime"
        )
    known = instruction_sets()
    chosen = os.environ.get(VARIABLE) or known[0]
    if chosen not in known:
        raise ModelError(f"{VARIABLE}={chosen} is none of {', '.join([*known, 'off'])}")
    return chosen
