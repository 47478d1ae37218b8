#!/usr/bin/env python3
"""Measure the ImageNet accuracy of an ONNX file with ONNX Runtime."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("validate_onnx")
