"""Write a plan of an int8 net: one file that the kernels' C library (caffe2_plan.h) runs without Python.

It computes the bytes of the exact runtime, and fits every processor. Every operator must be one that the kernels
cover. Carries the net's preprocessing, as a table of what each pixel value becomes; flags override what its file
records.
"""

import argparse

from caffe2_common.files import require_writable, write_atomically
from caffe2_common.images import pixel_table
from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile.api.options import PreprocessingOptions
from caffe2_mobile.commands.net_arguments import add_net_arguments, named_net
from caffe2_mobile.commands.preprocessing_arguments import add_preprocessing_arguments
from caffe2_mobile.commands.program import ArgumentParser, options_from
from caffe2_models.kernels.plan_file import compile_net
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.tensors import TensorType


def main(argv: list[str]) -> int:
    args = parse(argv)
    require_writable(args.output)
    net = named_net(args)
    shapes = net.input_shapes(args.img_size, args.batch_size, args.input_dims)
    recorded, told = get_preprocessing(net.predict), options_from(PreprocessingOptions, args)
    is_known = recorded is not None or told != PreprocessingOptions()
    pixels = pixel_table(told.applied_to(recorded or Preprocessing(), None)) if is_known else None
    types = {name: TensorType(shape) for name, shape in shapes.items()}
    content = compile_net(net, types, args.outputs or net.outputs, pixels)
    write_atomically(args.output, content)
    print(f"{args.output}: {len(content):,} bytes, for {', '.join(map(describe, shapes.items()))}")
    return 0


def describe(item: tuple[str, tuple[int, ...]]) -> str:
    name, shape = item
    return f"{name} {'x'.join(map(str, shape))}"


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_net_arguments(parser)
    parser.add_argument("-o", "--output", required=True, metavar="PLAN", help="the file to write")
    parser.add_argument("--outputs", nargs="+", metavar="BLOB", help="blobs to give (default: the net's outputs)")
    add_preprocessing_arguments(parser.add_argument_group("preprocessing"))
    return parser.parse_args(argv)
