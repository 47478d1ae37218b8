"""caffe2.python.brew: layers with their parameters. brew.conv(model, "x", "y", 3, 16, kernel=3)

The helpers get the arguments of their model's arg_scope, over these the ones of brew.arg_scope, and over these the
caller's own.
"""

import copy
import inspect
from collections.abc import Callable
from typing import Any

from caffe2_mobile.compat.python.helpers import (
    algebra,
    array_helpers,
    control_ops,
    nonlinearity,
    normalization,
    pooling,
    quantization,
    tools,
    train,
)
from caffe2_mobile.compat.python.helpers import (
    conv as convolution,
)
from caffe2_mobile.compat.python.helpers import (
    db_input as databases,
)
from caffe2_mobile.compat.python.helpers import (
    dropout as dropouts,
)
from caffe2_mobile.compat.python.helpers import (
    elementwise_linear as linear,
)
from caffe2_mobile.compat.python.helpers import (
    fc as dense,
)
from caffe2_mobile.compat.python.helpers.arg_scope import arg_scope, get_current_scope
from caffe2_mobile.compat.python.model_helper import ModelHelper

_HELPERS: list[Any] = [
    *(dense.fc, dense.packed_fc, dense.fc_decomp, dense.fc_sparse, dense.fc_prune, dropouts.dropout),
    *(pooling.max_pool, pooling.average_pool, pooling.max_pool_with_index, normalization.lrn, normalization.softmax),
    *(normalization.instance_norm, normalization.spatial_bn, normalization.spatial_gn, normalization.layer_norm),
    *(normalization.moments_with_running_stats, nonlinearity.relu, nonlinearity.prelu, nonlinearity.tanh),
    *(array_helpers.concat, array_helpers.depth_concat, algebra.sum, algebra.reduce_sum, algebra.sub),
    *(algebra.arg_min, algebra.transpose, algebra.mat_mul, algebra.batch_mat_mul),
    *(algebra.sparse_lengths_sum_4bit_rowwise_sparse, train.iter, train.accuracy, train.add_weight_decay),
    *(convolution.conv, convolution.conv_nd, convolution.conv_transpose, convolution.group_conv),
    *(convolution.group_conv_deprecated, tools.image_input, tools.video_input, linear.elementwise_linear),
    *(control_ops.cond, control_ops.loop, databases.db_input, quantization.fused_8bit_rowwise_quantized_to_float),
]

_registry: dict[str, Callable] = {helper.__name__: helper for helper in _HELPERS}

__all__ = ["Register", "arg_scope", "has_helper"]


def _layer(name: str) -> Callable:
    """The helper with the arguments of the scopes around its call."""
    helper = _registry[name]
    parameters = inspect.signature(helper).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())

    def layer(*args: Any, **kwargs: Any) -> Any:
        model = args[0] if args and isinstance(args[0], ModelHelper) else kwargs.get("model")
        if model is None:
            raise RuntimeError(
                "The first input of helper function should be model. "
                "Or you can provide it in kwargs as model=<your_model>."
            )
        from_model = copy.deepcopy(model.arg_scope)
        if not takes_any:
            from_model = {key: value for key, value in from_model.items() if key in parameters}
        return helper(*args, **{**from_model, **get_current_scope().get(name, {}), **kwargs})

    layer.__name__ = name
    return layer


def Register(helper: Callable) -> None:
    """Add a layer of one's own: helper(model, ...). Raises AttributeError for a name that is taken."""
    if helper.__name__ in _registry:
        raise AttributeError(f"Helper {helper.__name__} already exists. Please change your helper name.")
    _registry[helper.__name__] = helper


def has_helper(helper_or_helper_name: Any) -> bool:
    return getattr(helper_or_helper_name, "__name__", helper_or_helper_name) in _registry


def __getattr__(name: str) -> Callable:
    if name not in _registry:
        raise AttributeError(f"Helper function {name} not registered.")
    return _layer(name)
