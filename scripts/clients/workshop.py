"""A folder to try one script in: clones of its repository, packages it wants, and the run itself."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
STAND_INS = Path(__file__).with_name("stand_ins")

# Repository -> its commit, and what is checked out of it.
REPOSITORIES = {
    "rwightman/gen-efficientnet-pytorch": ("771ce082b2ce6d033f55b3d47c1f77389ad3c180", ["."]),
    "facebook/FAI-PEP": ("7c1a57eb9b7f85d42934cc7f5bafdd3b55d475b3", ["libraries/python"]),
    "facebookresearch/mobile-vision": ("bb8465cfe06327c35b398f3cc0b30e2e668eb0dd", ["runtime_lut"]),
    "facebookresearch/detectron2": ("02b5c4e295e990042a714712c21dc79b731e8833", ["detectron2/export"]),
    "facebookarchive/tutorials": ("b27b1eb97f40bf07015e38bad3cdb8ea831428d8", ["*.ipynb", "helpers.py"]),
    "qfgaohao/pytorch-ssd": ("7a839cbc8c3fb39679856b4dc42a1ab19ec07581", ["."]),
}

# Packages that scripts import: installed without what they depend on, which the project's environment has.
PACKAGES = ["opencv-python-headless", "scikit-image", "lazy_loader", "imageio", "tifffile", "pydot"]


class Failed(Exception):
    """A script that did not run, or whose results are not what they should be."""


class Skipped(Exception):
    """A script that cannot be tried here."""


@dataclass(frozen=True)
class Workshop:
    """folder: of this one trial; cache: of clones and packages, for all; shared: test data, if it is there."""

    folder: Path
    cache: Path
    shared: Path

    def clone(self, repository: str) -> Path:
        """The repository's files at its commit. Raises Skipped where it cannot be had."""
        commit, patterns = REPOSITORIES[repository]
        target = self.cache / "repositories" / repository
        if not target.exists():
            url = f"https://github.com/{repository}"
            git("clone", "--quiet", "--filter=blob:none", "--no-checkout", url, str(target))
        git("checkout", "--quiet", commit, "--", *patterns, folder=target)
        return target

    def packages(self) -> Path:
        """A folder with PACKAGES. Raises Skipped where they cannot be had."""
        target = self.cache / "packages"
        if not target.exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
            done = subprocess.run([*command, *PACKAGES], capture_output=True, text=True)
            if done.returncode:
                raise Skipped(f"packages are not to be had: {last_line(done.stderr)}")
        return target

    def data(self, path: str) -> Path:
        """A file or folder of the test data. Raises Skipped where it is not there."""
        if not (self.shared / path).exists():
            raise Skipped(f"needs {path} of the test data")
        return self.shared / path

    def run(
        self,
        script: Path | str,
        *arguments: Path | str,
        cwd: Path | None = None,
        path: Sequence[Path] = (),
        environment: dict[str, str] | None = None,
    ) -> str:
        """What a script prints. path: what goes before the project on PYTHONPATH. Raises Failed with its last line."""
        variables = {**os.environ, "MPLBACKEND": "Agg", **(environment or {})}
        variables["PYTHONPATH"] = os.pathsep.join(map(str, [*path, ROOT]))
        command = [sys.executable, "-m", "caffe2_mobile", "run", str(script), *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd or self.folder, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise Failed(last_line(done.stderr))
        return done.stdout


def git(*arguments: str, folder: Path | None = None) -> None:
    where = ["-C", str(folder)] if folder else []
    done = subprocess.run(["git", *where, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"git {arguments[0]}: {last_line(done.stderr)}")


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word"])[-1].replace("|", "/")


def expect(condition: object, otherwise: str) -> None:
    """Raises Failed with this text unless the condition holds."""
    if not condition:
        raise Failed(otherwise)
