"""What a Caffe2 net is and means: its format, operators, int8 arithmetic and runtimes, without Caffe2."""

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models.net import Net, Node, Step, load_net
from caffe2_models.tensors import Int8Tensor, TensorType

__all__ = ["Int8Tensor", "ModelError", "Net", "Node", "Step", "TensorType", "UnsupportedError", "load_net"]
