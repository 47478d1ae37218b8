#!/usr/bin/env python3
"""Fold BatchNorm and constants in an ONNX file, and check that it still computes the same."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("optimize")
