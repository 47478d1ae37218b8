"""Measure the ImageNet accuracy of a Caffe2 net, fp32 or int8."""

from caffe2_mobile.commands import validate


def main(argv: list[str]) -> int:
    return validate.main(argv, __doc__, ("caffe2",))
