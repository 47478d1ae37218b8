#!/usr/bin/env python3
"""Convert a Caffe2 net to ONNX, and check that ONNX Runtime computes the same."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("to_onnx")
