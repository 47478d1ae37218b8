"""caffe2.python.cnn: CNNModelHelper, the older way to write layers: model.Conv("x", "y", 3, 16, kernel=3)."""

import logging
from typing import Any

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import brew, workspace
from caffe2_mobile.compat.python.model_helper import ModelHelper


class CNNModelHelper(ModelHelper):
    """A ModelHelper whose methods are brew's layers, in one order of channels."""

    def __init__(
        self,
        order: str = "NCHW",
        name: str | None = None,
        use_cudnn: bool = True,
        cudnn_exhaustive_search: bool = False,
        ws_nbytes_limit: int | None = None,
        init_params: bool = True,
        skip_sparse_optim: bool = False,
        param_model: ModelHelper | None = None,
    ):
        logging.warning(
            "[====DEPRECATE WARNING====]: you are creating an object from CNNModelHelper class which will be "
            "deprecated soon. Please use ModelHelper object with brew module."
        )
        arguments: dict[str, Any] = {
            "order": order,
            "use_cudnn": use_cudnn,
            "cudnn_exhaustive_search": cudnn_exhaustive_search,
        }
        if ws_nbytes_limit:
            arguments["ws_nbytes_limit"] = ws_nbytes_limit
        super().__init__(
            name="CNN" if name is None else name,
            init_params=init_params,
            skip_sparse_optim=skip_sparse_optim,
            param_model=param_model,
            arg_scope=arguments,
        )
        self.order = order
        self.use_cudnn = use_cudnn
        self.cudnn_exhaustive_search = cudnn_exhaustive_search
        self.ws_nbytes_limit = ws_nbytes_limit
        if order not in ("NHWC", "NCHW"):
            raise ValueError(f"Cannot understand the CNN storage order {order}.")

    def PadImage(self, blob_in: Any, blob_out: Any, **kwargs: Any) -> None:
        self.net.PadImage(blob_in, blob_out, **kwargs)

    def DepthConcat(self, *args: Any, **kwargs: Any) -> Any:
        print("DepthConcat is deprecated. use Concat instead.")
        return self.Concat(*args, **kwargs)  # type: ignore[attr-defined]

    @property
    def XavierInit(self) -> tuple[str, dict[str, Any]]:
        return ("XavierFill", {})

    @property
    def MSRAInit(self) -> tuple[str, dict[str, Any]]:
        return ("MSRAFill", {})

    @property
    def ZeroInit(self) -> tuple[str, dict[str, Any]]:
        return ("ConstantFill", {})

    def ConstantInit(self, value: float) -> tuple[str, dict[str, Any]]:
        return ("ConstantFill", {"value": value})

    def AddWeightDecay(self, weight_decay: float) -> None:
        brew.add_weight_decay(self, weight_decay)

    @property
    def CPU(self) -> Any:
        return caffe2_pb2.DeviceOption(device_type=caffe2_pb2.CPU)

    @property
    def GPU(self) -> Any:
        return caffe2_pb2.DeviceOption(device_type=workspace.GpuDeviceType, device_id=0)


# Method -> layer, and what of the model goes with it: its order of channels, cuDNN or not, all of a convolution's.
_ORDER, _CUDNN = ("order",), ("use_cudnn",)
_CONVOLUTION = ("order", "use_cudnn", "cudnn_exhaustive_search", "ws_nbytes_limit")
_LAYERS = {
    "ImageInput": ("image_input", _ORDER),
    "VideoInput": ("video_input", ()),
    "Conv": ("conv", _CONVOLUTION),
    "ConvNd": ("conv_nd", _CONVOLUTION),
    "ConvTranspose": ("conv_transpose", _CONVOLUTION),
    "GroupConv": ("group_conv", _CONVOLUTION),
    "GroupConv_Deprecated": ("group_conv_deprecated", _CONVOLUTION),
    "FC": ("fc", ()),
    "PackedFC": ("packed_fc", ()),
    "FC_Prune": ("fc_prune", ()),
    "FC_Decomp": ("fc_decomp", ()),
    "FC_Sparse": ("fc_sparse", ()),
    "Dropout": ("dropout", _ORDER + _CUDNN),
    "LRN": ("lrn", _ORDER + _CUDNN),
    "Softmax": ("softmax", _CUDNN),
    "SpatialBN": ("spatial_bn", _ORDER),
    "SpatialGN": ("spatial_gn", _ORDER),
    "InstanceNorm": ("instance_norm", _ORDER),
    "Relu": ("relu", _ORDER + _CUDNN),
    "PRelu": ("prelu", ()),
    "Concat": ("concat", _ORDER),
    "Sum": ("sum", ()),
    "Transpose": ("transpose", _CUDNN),
    "Iter": ("iter", ()),
    "Accuracy": ("accuracy", ()),
    "MaxPool": ("max_pool", _ORDER + _CUDNN),
    "MaxPoolWithIndex": ("max_pool_with_index", _ORDER),
    "AveragePool": ("average_pool", _ORDER + _CUDNN),
}


def _method(layer: str, attributes: tuple[str, ...]) -> Any:
    def method(self: CNNModelHelper, *args: Any, **kwargs: Any) -> Any:
        return getattr(brew, layer)(self, *args, **{name: getattr(self, name) for name in attributes}, **kwargs)

    method.__name__ = layer
    return method


for _name, (_layer, _attributes) in _LAYERS.items():
    setattr(CNNModelHelper, _name, _method(_layer, _attributes))
