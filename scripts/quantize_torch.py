#!/usr/bin/env python3
"""Make an int8 TorchScript file (QNNPACK, per-tensor scales) of a model of the zoo."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from caffe2_common.images import complete, normalize, pixel_table, read_crop
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run
from validate.dataset import open_dataset, select


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("output", metavar="OUT.jpt")
    parser.add_argument("--model", "-m", required=True, metavar="NAME", help="see caffe2-mobile list")
    parser.add_argument("--checkpoint", metavar="F", help="weights from a file (default: the published ones)")
    parser.add_argument("--num-classes", type=int, metavar="N")
    parser.add_argument("--img-size", type=int, metavar="N")
    parser.add_argument("--calibration-data", required=True, metavar="DIR", help="images in class folders")
    parser.add_argument("--calibration-images", type=int, default=64, metavar="N", help="default %(default)s")
    args = parser.parse_args(argv)
    import torch  # here, so that --help answers at once

    from mobile_cv.model_zoo import create_model
    from mobile_cv.model_zoo.int8 import quantize, save_int8

    model = create_model(
        args.model,
        pretrained=args.checkpoint is None,
        checkpoint_path=args.checkpoint,
        num_classes=args.num_classes,
        img_size=args.img_size,
    )
    preprocessing = Preprocessing(**model.default_cfg)
    images = read_images(args.calibration_data, args.calibration_images, preprocessing)
    save_int8(quantize(model, (torch.from_numpy(image) for image in images)), args.output)
    print(f"{args.output}: {args.model}, int8, {Path(args.output).stat().st_size / 1e6:.1f} MB")
    return 0


def read_images(path: str, limit: int, preprocessing: Preprocessing):
    """Evenly spaced images of a folder as the net's input, float32 [1, 3, size, size] each."""
    dataset, preprocessing = open_dataset(path), complete(preprocessing)
    table = pixel_table(preprocessing)
    for index in progress(select(dataset, limit), desc="calibrating"):
        image = np.empty((1, 3, preprocessing.size, preprocessing.size), np.float32)
        normalize(read_crop(dataset.read(index), preprocessing), table, image[0])
        yield image


if __name__ == "__main__":
    run(main)
