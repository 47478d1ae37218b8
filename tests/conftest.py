"""What tests need from outside the repository, or why they skip."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of facts, golden values and real models beside the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside the repository")
    return folder


@pytest.fixture(scope="session")
def caffe2_python() -> str:
    """The interpreter that has the real Caffe2."""
    interpreter = os.environ.get("CAFFE2_PYTHON")
    if not interpreter:
        pytest.skip("CAFFE2_PYTHON names no interpreter with Caffe2 (scripts/setup_caffe2.sh makes one)")
    return interpreter
