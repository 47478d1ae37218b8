"""Caffe2 nets as TensorFlow Lite files, for LiteRT: float32, uint8 or int8.

Float operators take the way over ONNX that their lowering knows (onnx_nodes.py); Int8 operators become quantized ones
(int8_operators.py). Images are stored as N, H, W, C, as LiteRT has them. Needs the extra `litert`, which has the
schema's classes.
"""

from typing import Literal, get_args

Kind = Literal["float", "uint8", "int8"]
KINDS: tuple[Kind, ...] = get_args(Kind)
