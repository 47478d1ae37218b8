"""caffe2.python.helpers.train: what models for training have in their nets."""

from typing import Any

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import core
from caffe2_mobile.compat.runtime.known import TRAINING


def iter(model: Any, blob_out: Any, **kwargs: Any) -> Any:
    kwargs.pop("device_option", None)
    cpu = core.DeviceOption(caffe2_pb2.CPU, 0)
    int64 = caffe2_pb2.TensorProto.INT64
    model.param_init_net.ConstantFill([], blob_out, shape=[1], value=0, dtype=int64, device_option=cpu, **kwargs)
    return model.net.Iter(blob_out, blob_out, **kwargs)


def accuracy(model: Any, blob_in: Any, blob_out: Any, **kwargs: Any) -> None:
    model.net.Accuracy(blob_in, blob_out)


def add_weight_decay(model: Any, weight_decay: float) -> None:
    if weight_decay > 0.0:
        raise NotImplementedError(f"brew.add_weight_decay is not in caffe2-mobile: {TRAINING}")
