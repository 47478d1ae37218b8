"""caffe2.python.helpers.elementwise_linear"""

from typing import Any

from caffe2_mobile.compat.python.helpers.parameters import filled_weight_and_bias, output_name

ONES = ("ConstantFill", {"value": 1.0})
ZEROS = ("ConstantFill", {"value": 0.0})


def elementwise_linear(
    model: Any, blob_in: Any, blob_out: Any, dim: int, weight_init: Any = None, bias_init: Any = None, **kwargs: Any
) -> Any:
    """x * w + b along the second dimension."""
    blob_out = output_name(model, blob_out)
    parameters = filled_weight_and_bias(model, blob_out, [dim], [dim], weight_init or ONES, bias_init or ZEROS)
    return model.net.ElementwiseLinear([blob_in, *parameters], blob_out, **kwargs)
