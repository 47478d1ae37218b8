"""caffe2.python.workspace: blobs and nets of the current workspace."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from google.protobuf.message import Message

import caffe2_mobile.compat.python._import_c_extension as C
from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import scope
from caffe2_mobile.compat.runtime.workspace import WORKSPACES

logger = logging.getLogger(__name__)

Blobs = C.blobs
ResetBlob = C.reset_blob
CreateBlob = C.create_blob
CurrentWorkspace = C.current_workspace
DeserializeBlob = C.deserialize_blob
GlobalInit = C.global_init
HasBlob = C.has_blob
RegisteredOperators = C.registered_operators
SerializeBlob = C.serialize_blob
SwitchWorkspace = C.switch_workspace
RootFolder = C.root_folder
Workspaces = C.workspaces
BenchmarkNet = C.benchmark_net
BenchmarkNetOnce = C.benchmark_net_once
GetStats = C.get_stats
Workspace = C.Workspace
Int8Tensor = C.Int8Tensor

is_asan = C.is_asan
has_cuda_support = C.has_cuda_support
has_hip_support = C.has_hip_support
has_gpu_support = C.has_gpu_support
GpuDeviceType = caffe2_pb2.CUDA

GetBlobNUMANode = C.get_blob_numa_node
GetBlobSizeBytes = C.get_blob_size_bytes
GetNumNUMANodes = C.get_num_numa_nodes

# Net's name -> place of an operator -> where the script made it, innermost first: (file, line, function).
operator_tracebacks: dict[str, dict[int, list[tuple[str, int, str]]]] = defaultdict(dict)


def IsNUMAEnabled() -> bool:
    return C.is_numa_enabled


def NumCudaDevices() -> int:
    return 0


NumGpuDevices = GetCUDAVersion = GetCuDNNVersion = NumCudaDevices


def GetDeviceProperties(device: int) -> None:
    return None


def GetGpuPeerAccessPattern() -> np.ndarray:
    return np.array([])


def GetGPUMemoryInfo(*_: Any) -> None:
    return None


# ------------------------------------------------------------------------------------- nets, operators


def StringifyProto(obj: Any) -> Any:
    """The serialized message of a message, or of what has one. Raises ValueError for what has none."""
    if isinstance(obj, str | bytes):
        return obj
    if isinstance(obj, Message):
        return obj.SerializeToString()
    if hasattr(obj, "Proto"):
        return obj.Proto().SerializeToString()
    raise ValueError(f"Unexpected argument to StringifyProto of type {type(obj).__name__}")


def ResetWorkspace(root_folder: str | None = None) -> bool:
    """Empty the current workspace; its root folder stays, or is made."""
    if root_folder is None:
        return C.reset_workspace(C.root_folder())
    os.makedirs(root_folder, exist_ok=True)
    return C.reset_workspace(root_folder)


def CallWithExceptionIntercept(
    func: Callable, op_id_fetcher: Callable[[], int], net_name: Any, *args: Any, **kwargs: Any
) -> Any:
    """Call a function; where it fails, log where the script made the operator that failed."""
    try:
        return func(*args, **kwargs)
    except Exception:
        position = op_id_fetcher()
        logger.warning(
            "Original python traceback for operator `%s` in network `%s` in exception above (most recent call last):",
            position,
            net_name,
        )
        for frame in reversed(operator_tracebacks.get(net_name, {}).get(position, [])):
            logger.warning('  File "%s", line %s, in %s', *frame)
        raise


def _failed_position() -> int:
    return WORKSPACES.current.failed_position


def CreateNet(net: Any, overwrite: bool = False, input_blobs: Iterable[str] | None = None) -> bool:
    """Make a net ready to run by its name. Raises RuntimeError where its inputs are not there yet."""
    for name in input_blobs or []:
        C.create_blob(name)
    definition = C.as_message(caffe2_pb2.NetDef, net)
    CallWithExceptionIntercept(WORKSPACES.current.create_net, _failed_position, GetNetName(net), definition, overwrite)
    return True


def Predictor(init_net: Any, predict_net: Any) -> C.Predictor:
    """A net with a workspace of its own; nets are messages, core.Nets or serialized."""
    return C.Predictor(init_net, predict_net)


def RunNet(name: Any, num_iter: int = 1, allow_fail: bool = False) -> bool:
    """Run a net that was created: a name or a core.Net."""
    text = C.as_text(StringifyNetName(name))
    CallWithExceptionIntercept(WORKSPACES.current.run_net, _failed_position, text, text, num_iter)
    return True


def RunNetOnce(net: Any) -> bool:
    """Run a net that is not created by name."""
    definition = C.as_message(caffe2_pb2.NetDef, net)
    CallWithExceptionIntercept(WORKSPACES.current.run_net_once, _failed_position, GetNetName(net), definition)
    return True


def RunOperatorOnce(operator: Any) -> bool:
    WORKSPACES.current.run_operator(C.as_message(caffe2_pb2.OperatorDef, operator))
    return True


def RunOperatorMultiple(operator: Any, num_runs: int) -> bool:
    return all(RunOperatorOnce(operator) for _ in range(num_runs))


def RunOperatorsOnce(operators: Iterable[Any]) -> bool:
    return all(RunOperatorOnce(operator) for operator in operators)


def RunPlan(plan_or_step: Any) -> bool:
    """Run a plan, or a step as a plan of its own."""
    from caffe2_mobile.compat.python import core

    plan = core.Plan(plan_or_step) if isinstance(plan_or_step, core.ExecutionStep) else plan_or_step
    WORKSPACES.current.run_plan(C.as_message(caffe2_pb2.PlanDef, plan))
    return True


def GetOperatorCost(operator: Any, blobs: Iterable[Any]) -> tuple[int, int]:
    """(floating-point operations, bytes written) of an operator on the blobs as they are."""
    return C.get_operator_cost(operator, [str(blob) for blob in blobs])


def ClearGlobalNetObserver() -> None:
    """Nothing observes nets here."""


def InferShapesAndTypes(
    nets: Iterable[Any],
    blob_dimensions: dict[str, Any] | None = None,
    nets_proto: bool = False,
    blob_types: dict[str, int] | None = None,
) -> tuple[dict[str, list[int]], dict[str, int]]:
    """(shapes, data types) by blob, from the blobs given or those of the workspace; nothing is run."""
    serialized = [StringifyProto(net if nets_proto else net.Proto()) for net in nets]
    if blob_dimensions is None:
        assert blob_types is None
        content = C.infer_shapes_and_types_from_workspace(serialized)
    else:
        content = C.infer_shapes_and_types_from_map(serialized, blob_dimensions, blob_types)
    known = [shape for shape in caffe2_pb2.TensorShapes.FromString(content).shapes if not shape.unknown_shape]
    return {shape.name: list(shape.dims) for shape in known}, {shape.name: shape.data_type for shape in known}


def _StringifyName(name: Any, expected_type: str) -> Any:
    if isinstance(name, str | bytes):
        return name
    assert type(name).__name__ == expected_type, f"Expected a string or {expected_type}"
    return str(name)


def StringifyBlobName(name: Any) -> Any:
    return _StringifyName(name, "BlobReference")


def StringifyNetName(name: Any) -> Any:
    return _StringifyName(name, "Net")


def GetNetName(net: Any) -> Any:
    if isinstance(net, str | bytes):
        return net
    if hasattr(net, "Proto"):
        return net.Proto().name
    if isinstance(net, caffe2_pb2.NetDef):
        return net.name
    raise Exception(f"Not a Net object: {net}")


# ------------------------------------------------------------------------------------------------ blobs


def FeedBlob(name: Any, arr: Any, device_option: Any = None) -> bool:
    """Put a copy of an array, a TensorProto or a string into a blob, which is made where there is none."""
    return C.feed(WORKSPACES.current.create_blob(C.as_text(StringifyBlobName(name))), arr)


def FetchBlobs(names: Iterable[Any]) -> list[Any]:
    return [FetchBlob(name) for name in names]


def FetchBlob(name: Any) -> Any:
    """A copy of a blob: ndarray, or bytes. Raises TypeError for a quantized one, which FetchInt8Blob fetches."""
    result = WORKSPACES.current.blob(C.as_text(StringifyBlobName(name))).fetch()
    if type(result) is tuple:
        raise TypeError(f"Use FetchInt8Blob to fetch Int8 Blob {StringifyBlobName(name)}")
    return result


def FetchTorch(name: Any) -> Any:
    """A copy of a blob as a PyTorch tensor."""
    return C.Workspace.current.blobs[StringifyBlobName(name)].to_torch()


def FetchInt8Blob(name: Any) -> Int8Tensor:
    """(data, scale, zero_point) of a quantized blob."""
    result = C.fetch_blob(StringifyBlobName(name))
    assert isinstance(result, tuple), (
        f"You are not fetching an Int8Blob {StringifyBlobName(name)}. Please use FetchBlob"
    )
    return Int8Tensor(*result)


def FetchInt8BlobRealVal(name: Any) -> np.ndarray:
    """The real values of a quantized blob, float32."""
    data, scale, zero_point = FetchInt8Blob(name)
    return (data.astype(np.int32) - int(zero_point)).astype(np.float32) * scale


def GetNameScope() -> str:
    return scope.CurrentNameScope()


class _BlobDict:
    """The current workspace's blobs as a dict of arrays."""

    def __getitem__(self, key: Any) -> Any:
        return FetchBlob(key)

    def __setitem__(self, key: Any, value: Any) -> bool:
        return FeedBlob(key, value)

    def __len__(self) -> int:
        return len(C.blobs())

    def __iter__(self) -> Iterator[str]:
        return iter(C.blobs())

    def __contains__(self, item: Any) -> bool:
        return C.has_blob(StringifyBlobName(item))


blobs = _BlobDict()


# --------------------------------------------------------------------------------------- immediate mode


class _Immediate:
    """Immediate mode: whether operators run as they are made, in a workspace of their own."""

    workspace = "_CAFFE2_IMMEDIATE"

    def __init__(self) -> None:
        self.root_folder: str | None = None


_immediate = _Immediate()


def IsImmediate() -> bool:
    return _immediate.root_folder is not None


@contextlib.contextmanager
def WorkspaceGuard(workspace_name: str) -> Iterator[None]:
    """Within the block this workspace is the current one."""
    outer = CurrentWorkspace()
    SwitchWorkspace(workspace_name, True)
    try:
        yield
    finally:
        SwitchWorkspace(outer)


def StartImmediate(i_know: bool = False) -> None:
    StopImmediate()
    _immediate.root_folder = tempfile.mkdtemp()
    with WorkspaceGuard(_immediate.workspace):
        ResetWorkspace(_immediate.root_folder)
    if not i_know:
        print("Immediate mode: operators run when they are made, in a workspace of their own. It is for debugging.")


def StopImmediate() -> None:
    if _immediate.root_folder is None:
        return
    with WorkspaceGuard(_immediate.workspace):
        ResetWorkspace()
    shutil.rmtree(_immediate.root_folder)
    _immediate.root_folder = None


def ImmediateBlobs() -> list[str]:
    with WorkspaceGuard(_immediate.workspace):
        return Blobs()


def RunOperatorImmediate(op: Any) -> None:
    with WorkspaceGuard(_immediate.workspace):
        RunOperatorOnce(op)


def FetchImmediate(*args: Any, **kwargs: Any) -> Any:
    with WorkspaceGuard(_immediate.workspace):
        return FetchBlob(*args, **kwargs)


def FeedImmediate(*args: Any, **kwargs: Any) -> bool:
    with WorkspaceGuard(_immediate.workspace):
        return FeedBlob(*args, **kwargs)
