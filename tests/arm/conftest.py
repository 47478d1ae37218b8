"""The arm64 Python in qemu, with the kernels built for it, or why these tests skip."""

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def arm_root() -> Path:
    """The folder of scripts/setup_arm.sh, for which scripts/build_arm.sh has built the kernels."""
    folder = os.environ.get("ARM_ROOT")
    if not folder:
        pytest.skip("ARM_ROOT names no arm64 Python (scripts/setup_arm.sh makes one; `make test-arm` does all)")
    return Path(folder)


@pytest.fixture(scope="session")
def run_on_arm(arm_root, root):
    """run_on_arm(cpu, *arguments): what the arm64 Python prints, on that processor of qemu's."""

    def run(cpu: str, *arguments) -> str:
        environment = {**os.environ, "QEMU_CPU": cpu, "PYTHONPATH": str(root)}
        command = [arm_root / "bin" / "python", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return run
