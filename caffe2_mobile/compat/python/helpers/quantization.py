"""caffe2.python.helpers.quantization"""

from typing import Any


def fused_8bit_rowwise_quantized_to_float(model: Any, blob_in: Any, blob_out: Any) -> Any:
    return model.net.Fused8BitRowwiseQuantizedToFloat(blob_in, blob_out)
