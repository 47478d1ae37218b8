"""The one part of the package that setup.cfg cannot say: the int8 kernels, an optional extension in C++.

Where it cannot be built (no compiler, no Python headers) the package installs without it, and int8 nets run
on the `reference` runtime.
"""

from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

KERNELS = Path("caffe2_models/kernels")

# No contraction: a rounding more or less would make other bytes. The warnings are GCC's own, about undefined
# vectors in its headers and about passing vectors that the baseline has no registers for.
FLAGS = ["-O3", "-ffp-contract=off", "-Wno-maybe-uninitialized", "-Wno-uninitialized", "-Wno-psabi"]

setup(
    ext_modules=[
        Pybind11Extension(
            "caffe2_models.kernels._int8",
            sorted(path.as_posix() for path in KERNELS.glob("*.cpp")),
            depends=sorted(path.as_posix() for path in KERNELS.glob("*.h")),
            cxx_std=20,
            extra_compile_args=FLAGS,
            optional=True,
        )
    ]
)
