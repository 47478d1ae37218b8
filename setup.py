"""What setup.cfg cannot say: where the wheel has the packages with common names, and the int8 kernels.

The wheel claims only names of its own. exporters, mobile_cv, runtime_lut and validate, which anybody may call a
package, become caffe2_mobile.rooms.exporters and so on; imports of them are renamed as the files are copied. An
editable install shows the checkout as it is.

The kernels are an optional extension in C++: where it cannot be built (no compiler, no Python headers) the package
installs without it, and int8 nets run on the `reference` runtime.
"""

import re
import sys
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

OWN = ("caffe2_common", "caffe2_mobile", "caffe2_models")
ROOMS = ("exporters", "mobile_cv", "runtime_lut", "validate")
HOME = "caffe2_mobile.rooms"

KERNELS = Path("caffe2_models/kernels")

# No contraction: a rounding more or less would make other bytes. The warnings are GCC's own, about undefined
# vectors in its headers and about passing vectors that the baseline has no registers for.
FLAGS = ["-O3", "-ffp-contract=off", "-Wno-maybe-uninitialized", "-Wno-uninitialized", "-Wno-psabi"]

HEADERS = sorted(path.as_posix() for path in KERNELS.glob("*.h"))


def is_outdated(compiled: str, source: str) -> bool:
    return Path(compiled).stat().st_mtime < max(Path(path).stat().st_mtime for path in [source, *HEADERS])


# As many compilers as cores, of what has changed.
ParallelCompile(needs_recompile=is_outdated).install()

IMPORT = re.compile(rf"^(\s*(?:from|import) )(?=(?:{'|'.join(ROOMS)})\b)", re.MULTILINE)
BARE_IMPORT = re.compile(rf"^\s*import (?:{'|'.join(ROOMS)})[\w.]*\s*(?:#.*)?$", re.MULTILINE)


class BuildRenamed(build_py):
    """Copies modules with their imports of the rooms renamed."""

    def build_module(self, module, module_file, package):
        target, copied = super().build_module(module, module_file, package)
        source = Path(module_file).read_text(encoding="utf-8")
        if found := BARE_IMPORT.search(source):
            raise ValueError(f"{module_file}: {found[0].strip()!r} has no name in the wheel: use from ... import")
        Path(target).write_text(IMPORT.sub(rf"\1{HOME}.", source), encoding="utf-8")
        return target, copied


found = find_packages(include=[f"{name}{end}" for name in OWN + ROOMS for end in ("", ".*")])
if "editable_wheel" in sys.argv:
    layout = {"packages": found}
else:
    layout = {
        "packages": [f"{HOME}.{name}" if name.partition(".")[0] in ROOMS else name for name in found],
        "package_dir": {f"{HOME}.{room}": room for room in ROOMS},
        "cmdclass": {"build_py": BuildRenamed},
    }

setup(
    **layout,
    ext_modules=[
        Pybind11Extension(
            "caffe2_models.kernels._int8",
            sorted(path.as_posix() for path in KERNELS.glob("*.cpp")),
            depends=HEADERS,
            cxx_std=20,
            extra_compile_args=FLAGS,
            optional=True,
        )
    ],
)
