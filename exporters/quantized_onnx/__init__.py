"""Quantized ONNX models (QDQ, or with operators on bytes) as Caffe2 int8 nets, without a calibration of their own."""

from exporters.quantized_onnx.conversion import QuantizedConversion as QuantizedConversion
from exporters.quantized_onnx.conversion import convert_quantized as convert_quantized
from exporters.quantized_onnx.qdq import is_quantized as is_quantized
from exporters.quantized_onnx.qdq import is_quantized_anew as is_quantized_anew
