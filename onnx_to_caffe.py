#!/usr/bin/env python3
"""Convert an ONNX model to a Caffe2 net, float or int8, and check that it computes the same."""

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("convert")
