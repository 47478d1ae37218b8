"""caffe2.proto.caffe2_pb2: the messages of Caffe2's files, and the devices under the names of all versions."""

from caffe2_models.proto.caffe2_pb2 import *  # noqa: F403
from caffe2_models.proto.caffe2_pb2 import DeviceTypeProto

# Before 1.0 CPU, CUDA ...; since then PROTO_CPU, PROTO_CUDA ..., with the old names beside them.
CPU = DeviceTypeProto.Value("PROTO_CPU")
CUDA = DeviceTypeProto.Value("PROTO_CUDA")
MKLDNN = DeviceTypeProto.Value("PROTO_MKLDNN")
OPENGL = DeviceTypeProto.Value("PROTO_OPENGL")
OPENCL = DeviceTypeProto.Value("PROTO_OPENCL")
IDEEP = DeviceTypeProto.Value("PROTO_IDEEP")
HIP = DeviceTypeProto.Value("PROTO_HIP")
COMPILE_TIME_MAX_DEVICE_TYPES = DeviceTypeProto.Value("PROTO_COMPILE_TIME_MAX_DEVICE_TYPES")
