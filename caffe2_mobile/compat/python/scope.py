"""caffe2.python.scope: the prefix of names and the device of operators that are made within a block."""

import contextlib
import threading
from collections.abc import Iterator

from caffe2_mobile.compat.proto import caffe2_pb2

_NAMESCOPE_SEPARATOR = "/"


class _Scope(threading.local):
    name = ""
    device: caffe2_pb2.DeviceOption | None = None


_scope = _Scope()


def CurrentNameScope() -> str:
    return _scope.name


def CurrentDeviceScope() -> caffe2_pb2.DeviceOption | None:
    return _scope.device


@contextlib.contextmanager
def NameScope(prefix: str | None, reset: bool = False) -> Iterator[None]:
    """Blobs named within are called prefix/name; `reset` leaves out the scopes around this one."""
    assert isinstance(prefix, str) or prefix is None, "NameScope takes in a string as its argument."
    outer = _scope.name
    addition = prefix + _NAMESCOPE_SEPARATOR if prefix else ""
    _scope.name = addition if reset else outer + addition
    try:
        yield
    finally:
        assert _scope.name.endswith(addition), "The namescope variable is changed from outside NameScope() calls."
        _scope.name = outer


@contextlib.contextmanager
def DeviceScope(scope: caffe2_pb2.DeviceOption | None, node_name: str | None = None) -> Iterator[None]:
    """Operators made within are for this device. node_name and extra_info go on from the scope around."""
    option = caffe2_pb2.DeviceOption()
    if scope:
        assert isinstance(scope, caffe2_pb2.DeviceOption), (
            "DeviceScope takes in a caffe2_pb2.DeviceOption as its argument."
        )
        option.CopyFrom(scope)
    else:
        assert node_name, "At least one argument should be non-null in DeviceScope"
    outer = _scope.device
    if node_name:
        option.node_name = node_name
    elif outer is not None and outer.HasField("node_name") and not option.HasField("node_name"):
        option.node_name = outer.node_name
    if outer is not None:
        option.extra_info.extend(outer.extra_info)
    option.extra_info.sort()
    _scope.device = option
    try:
        yield
    finally:
        assert _scope.device == option, "The device scope is changed from outside DeviceScope() calls."
        _scope.device = outer


@contextlib.contextmanager
def EmptyNameScope() -> Iterator[None]:
    """Names made within have no prefix."""
    outer, _scope.name = _scope.name, ""
    try:
        yield
    finally:
        _scope.name = outer


@contextlib.contextmanager
def EmptyDeviceScope() -> Iterator[None]:
    """Operators made within name no device."""
    outer, _scope.device = _scope.device, None
    try:
        yield
    finally:
        _scope.device = outer
