"""What the validator's tests share: a small data set, a net, and the commands as a user runs them."""

import subprocess
import sys
from pathlib import Path

import pytest
from image_cases import colour_net, write_coloured


@pytest.fixture
def coloured(tmp_path) -> Path:
    """A folder blue/, green/, red/ of four images each, of which red/3.jpg is blue."""
    return write_coloured(tmp_path / "images")


@pytest.fixture
def net(tmp_path) -> Path:
    return colour_net(tmp_path / "colours.onnx")


@pytest.fixture
def command(root):
    """Runs a script of the project: command("caffe2_validate.py", "--flag", ...) -> CompletedProcess."""

    def run(script: str, *flags) -> subprocess.CompletedProcess:
        words = [sys.executable, str(root / script), *map(str, flags)]
        return subprocess.run(words, capture_output=True, text=True, timeout=600)

    return run
