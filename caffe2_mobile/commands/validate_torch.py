"""Measure the ImageNet accuracy of a model of the zoo in PyTorch, or of an int8 TorchScript file."""

import argparse
import hashlib
from pathlib import Path

import numpy as np

from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile.commands import validation
from validate.classifier import Classifier


def add_model_arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--model",
        "-m",
        required=True,
        metavar="NAME",
        help="of scripts/list_models.py, or a definition F.json, or int8 TorchScript F.jpt",
    )
    parser.add_argument("--checkpoint", metavar="F", help="weights from a file (default: the published ones)")
    parser.add_argument("--num-classes", type=int, metavar="N")
    parser.add_argument("--in-chans", type=int, default=3, metavar="N")


def open_classifier(args: argparse.Namespace) -> Classifier:
    import torch  # here, so that --help answers at once

    from mobile_cv.model_zoo import create_model
    from mobile_cv.model_zoo.int8 import PUBLISHED, load_int8

    int8 = args.model.endswith(".jpt") or args.model in PUBLISHED
    if int8:
        model = load_int8(args.model)
    else:
        model = create_model(
            args.model,
            pretrained=args.checkpoint is None,
            checkpoint_path=args.checkpoint,
            num_classes=args.num_classes,
            in_chans=args.in_chans,
            img_size=args.img_size,
        ).eval()
    torch.set_num_threads(1)  # the validator runs one session per core

    def infer(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(images)).numpy()

    values = [value for value in model.state_dict().values() if isinstance(value, torch.Tensor)]
    digest = hashlib.sha256(Path(args.model).read_bytes() if args.model.endswith(".jpt") else b"")
    for value in values:
        digest.update(np.ascontiguousarray(value.dequantize() if value.is_quantized else value))
    return Classifier(
        name=args.model,
        form="pytorch-int8" if int8 else "pytorch",
        backend="torch",
        open_session=lambda: infer,
        param_count=model.param_count if int8 else sum(value.numel() for value in model.parameters()),
        preprocessing=Preprocessing(**model.default_cfg) if model.default_cfg else None,
        size=model.default_cfg["size"] if model.default_cfg else None,
        channels=args.in_chans,
        probabilities=not int8 and model.architecture.softmax,
        fingerprint=digest.hexdigest(),
    )


def main(argv: list[str]) -> int:
    return validation.main(argv, __doc__, add_model_arguments, open_classifier)
