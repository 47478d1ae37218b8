"""onnx_to_caffe.py --int8: the flags, and one run of the quantizer."""

import argparse
from collections.abc import Callable

from caffe2_models import Net
from caffe2_models.preprocessing import Preprocessing, get_preprocessing, set_preprocessing
from exporters.int8.quantizer import quantize
from exporters.int8.recipe import DEFAULT, find_recipe

CALIBRATION_IMAGES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of --int8, besides --calibration-data and --calibration-images."""
    group = parser.add_argument_group("int8")
    group.add_argument(
        "--recipe", default=DEFAULT, metavar="NAME", help="best, fast, minmax, or a .json file"
    )


def command(net: Net, arguments: argparse.Namespace, open_images: Callable) -> int:
    """Quantize the float net as the flags say; returns the exit status.

    open_images(folder, limit, preprocessing, channels) gives the calibration images.
    """
    shapes = net.input_shapes(arguments.img_size)
    (shape,) = shapes.values()
    preprocessing = (get_preprocessing(net.predict) or Preprocessing()).replace(size=shape[2])
    set_preprocessing(net.predict, preprocessing)
    count = arguments.calibration_images or CALIBRATION_IMAGES
    images = open_images(arguments.calibration_data, count, preprocessing, shape[1])
    int8 = quantize(net, images, find_recipe(arguments.recipe), shapes).net
    int8.save(arguments.c2_prefix)
    print(f"{arguments.c2_prefix}.init.pb, {arguments.c2_prefix}.predict.pb: {len(int8.operators)} operators")
    return 0
