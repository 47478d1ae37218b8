"""Measure the ImageNet accuracy of an ONNX file with ONNX Runtime."""

from caffe2_mobile.commands import validate


def main(argv: list[str]) -> int:
    return validate.main(argv, __doc__, ("onnx",))
