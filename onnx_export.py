#!/usr/bin/env python3
"""Export a model of the zoo to ONNX, and check that ONNX Runtime computes what PyTorch does."""

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("export")
