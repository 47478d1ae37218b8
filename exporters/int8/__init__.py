"""Int8: a Caffe2 float net becomes a Caffe2 int8 net for QNNPACK, and keeps its accuracy."""

from exporters.int8.quantizer import quantize

__all__ = ["quantize"]
