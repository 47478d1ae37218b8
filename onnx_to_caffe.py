#!/usr/bin/env python3
"""Convert an ONNX model to a Caffe2 net, float or int8, and check that it computes the same."""

from functools import partial

from caffe2_models.command import run
from exporters.convert_command import main
from validate.calibration import open_images

if __name__ == "__main__":
    run(partial(main, open_images=open_images))
