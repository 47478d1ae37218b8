"""Measure the ImageNet accuracy of a model of the zoo in PyTorch, or of an int8 TorchScript file."""

from caffe2_mobile.commands import validate


def main(argv: list[str]) -> int:
    return validate.main(argv, __doc__, ("torch",))
