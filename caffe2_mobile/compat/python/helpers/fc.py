"""caffe2.python.helpers.fc: fully connected layers. Weights are [out, in]."""

from typing import Any

from caffe2_mobile.compat.python.helpers.parameters import XAVIER, ZEROS, filled, output_name, parameter
from caffe2_mobile.compat.python.modeling.parameter_info import ParameterTags


def _fully_connected(
    model: Any,
    operator: str,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    weight_init: Any = None,
    bias_init: Any = None,
    WeightInitializer: Any = None,
    BiasInitializer: Any = None,
    enable_tensor_core: bool = False,
    float16_compute: bool = False,
    **kwargs: Any,
) -> Any:
    blob_out = output_name(model, blob_out)
    bias_tags = [ParameterTags.BIAS, *([ParameterTags.COMPUTED_PARAM] if "freeze_bias" in kwargs else [])]
    tags = ParameterTags.WEIGHT
    weight = parameter(model, blob_out + "_w", [dim_out, dim_in], tags, WeightInitializer, weight_init, XAVIER)
    bias = parameter(model, blob_out + "_b", [dim_out], bias_tags, BiasInitializer, bias_init)
    if enable_tensor_core:
        kwargs["engine"] = "TENSORCORE"
    if float16_compute:
        kwargs["float16_compute"] = True
    return getattr(model.net, operator)([blob_in, weight, bias], blob_out, **kwargs)


def fc(model: Any, *args: Any, **kwargs: Any) -> Any:
    """fc(model, blob_in, blob_out, dim_in, dim_out)"""
    return _fully_connected(model, "FC", *args, **kwargs)


def packed_fc(model: Any, *args: Any, **kwargs: Any) -> Any:
    return _fully_connected(model, "PackedFC", *args, **kwargs)


def fc_decomp(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    rank_approx: int = 5,
    weight_init: Any = None,
    bias_init: Any = None,
    WeightInitializer: Any = None,
    BiasInitializer: Any = None,
    **kwargs: Any,
) -> Any:
    """With weights as a product of two matrices."""
    blob_out = output_name(model, blob_out)
    u, v = (
        parameter(model, blob_out + name, [dim, rank_approx], None, WeightInitializer, weight_init, XAVIER)
        for name, dim in (("_u", dim_out), ("_v", dim_in))
    )
    bias = parameter(model, blob_out + "_b", [dim_out], None, BiasInitializer, bias_init)
    return model.net.FC_Decomp([blob_in, u, v, bias], blob_out, **kwargs)


def fc_prune(
    model: Any,
    blob_in: Any,
    blob_out: Any,
    dim_in: int,
    dim_out: int,
    weight_init: Any = None,
    bias_init: Any = None,
    mask_init: Any = None,
    threshold: float = 0.00001,
    need_compress_rate: bool = False,
    comp_lb: float = 0.05,
    **kwargs: Any,
) -> Any:
    """With weights that training prunes."""
    blob_out = output_name(model, blob_out)

    def value(number: float) -> tuple[str, dict[str, Any]]:
        return "ConstantFill", {"value": number}

    lower = filled(model, blob_out + "_lb", [1], value(comp_lb))
    weight = filled(model, blob_out + "_w", [dim_out, dim_in], weight_init or XAVIER)
    mask = filled(model, blob_out + "_m", [dim_out, dim_in], value(1.0))
    change = filled(model, blob_out + "_ag_dw", [dim_out, dim_in], mask_init or ZEROS)
    bias = filled(model, blob_out + "_b", [dim_out], bias_init or ZEROS)
    sequence = filled(model, blob_out + "_mask_seq", [dim_out, dim_in], mask_init or ZEROS)
    limit = filled(model, blob_out + "_thres", [1], value(threshold))
    model.AddParameter(weight)
    model.AddParameter(bias)
    outputs = [blob_out, blob_out + "_compress_rate"] if need_compress_rate else blob_out
    return model.net.FC_Prune([blob_in, weight, mask, bias, change, sequence, limit, lower], outputs, **kwargs)


def fc_sparse(model: Any, blob_in: Any, blob_out: Any, w_csr: Any, iw: Any, jw: Any, bias: Any, **kwargs: Any) -> Any:
    """With weights in compressed rows, which are there already."""
    parameters = [w_csr, iw, jw, bias]
    for each in parameters:
        model.AddParameter(each)
    return model.net.FC_Sparse([blob_in, *parameters], blob_out, **kwargs)
