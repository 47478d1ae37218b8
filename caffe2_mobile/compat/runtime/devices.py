"""Where operators run: on the CPU, whatever a net asks for."""

import functools
import logging

from caffe2_models.proto import caffe2_pb2

logger = logging.getLogger(__name__)

# Copies between devices, which all are the CPU.
COPIES = ("CopyCPUToGPU", "CopyGPUToCPU")

ON_CPU = {caffe2_pb2.PROTO_CPU, caffe2_pb2.PROTO_MKLDNN, caffe2_pb2.PROTO_IDEEP}


def on_cpu(net: caffe2_pb2.NetDef) -> caffe2_pb2.NetDef:
    """The net as one for the CPU: itself or, where it copies between devices, a changed copy.

    Says once what it asked for.
    """
    warn_of_devices(net)
    if not any(op.type in COPIES for op in net.op):
        return net
    changed = copy_of(net)
    for op in changed.op:
        if op.type in COPIES:
            op.type = "Copy"
    return changed


def copy_of(net: caffe2_pb2.NetDef) -> caffe2_pb2.NetDef:
    copied = caffe2_pb2.NetDef()
    copied.CopyFrom(net)
    return copied


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
