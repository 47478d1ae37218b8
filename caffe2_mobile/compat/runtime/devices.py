"""Where operators run: on the CPU, whatever a net asks for."""

import functools
import logging

from caffe2_models.proto import caffe2_pb2

logger = logging.getLogger(__name__)

# Copies between devices, which all are the CPU.
COPIES = ("CopyCPUToGPU", "CopyGPUToCPU")

ON_CPU = {caffe2_pb2.PROTO_CPU, caffe2_pb2.PROTO_MKLDNN, caffe2_pb2.PROTO_IDEEP}


def put_on_cpu(net: caffe2_pb2.NetDef) -> None:
    """Make a net one for the CPU, in place; say once what it asked for."""
    warn_of_devices(net)
    for op in net.op:
        if op.type in COPIES:
            op.type = "Copy"


def warn_of_devices(net: caffe2_pb2.NetDef) -> None:
    """Say once that a net for another device runs on the CPU."""
    for holder in (net, *net.op):
        if holder.HasField("device_option") and holder.device_option.device_type not in ON_CPU:
            warn_of_device(holder.device_option.device_type)
            return


@functools.cache
def warn_of_device(device_type: int) -> None:
    """The warning, once a device."""
    name = caffe2_pb2.DeviceTypeProto.Name(device_type) if device_type in DEVICES else str(device_type)
    logger.warning("there is no %s here: what asks for it runs on the CPU", name.removeprefix("PROTO_"))


DEVICES = set(caffe2_pb2.DeviceTypeProto.values())
