"""caffe2.python._import_c_extension, by custom imported as C: what Caffe2's C++ core gave to Python.

Nets and operators come as serialized messages here; caffe2.python.workspace takes the messages themselves.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.runtime import predictor, types, workspace
from caffe2_mobile.compat.runtime.benchmark import benchmark
from caffe2_mobile.compat.runtime.blob import Blob as RuntimeBlob
from caffe2_mobile.compat.runtime.known import known_operators, nearby
from caffe2_mobile.compat.runtime.serialization import deserialize, serialize_whole
from caffe2_mobile.compat.runtime.tensors import TensorCPU
from caffe2_mobile.compat.runtime.workspace import WORKSPACES
from caffe2_models.tensors import Int8Tensor, TensorType

__all__ = ["TensorCPU"]

has_cuda_support = has_hip_support = has_gpu_support = has_mkldnn = False
use_mkldnn = use_rocm = use_trt = is_asan = False
is_numa_enabled = False
define_caffe2_no_operator_schema = False


# ------------------------------------------------------------------------------------------------ blobs


class Blob:
    """A blob of a workspace."""

    def __init__(self, blob: RuntimeBlob):
        self._blob = blob

    def feed(self, value: Any, device_option: Any = None) -> bool:
        return self._blob.feed(value, device_option)

    _feed = feed

    def fetch(self) -> Any:
        return self._blob.fetch()

    def is_tensor(self) -> bool:
        return self._blob.is_tensor

    def tensor(self) -> TensorCPU:
        return TensorCPU(self._blob)

    as_tensor = tensor

    def to_torch(self) -> Any:
        """A copy as a PyTorch tensor."""
        return _torch_tensor(self._blob.fetch())

    def serialize(self, name: str) -> bytes:
        return serialize_whole(name, self._blob.content)

    def deserialize(self, content: bytes) -> None:
        self._blob.set(deserialize([content]))


def _torch_tensor(array: np.ndarray) -> Any:
    import importlib

    return importlib.import_module("torch").from_numpy(array)


def blobs() -> list[str]:
    return WORKSPACES.current.blob_names()


local_blobs = blobs


def has_blob(name: str) -> bool:
    return WORKSPACES.current.has_blob(_text(name))


def create_blob(name: str) -> bool:
    WORKSPACES.current.create_blob(_text(name))
    return True


def reset_blob(name: str) -> None:
    WORKSPACES.current.blob(_text(name)).set(None)


def feed_blob(name: str, value: Any, device_option: Any = None) -> bool:
    return WORKSPACES.current.create_blob(_text(name)).feed(value)


def fetch_blob(name: str) -> Any:
    return WORKSPACES.current.blob(_text(name)).fetch()


def serialize_blob(name: str) -> bytes:
    return serialize_whole(_text(name), WORKSPACES.current.blob(_text(name)).content)


def deserialize_blob(name: str, content: bytes) -> None:
    WORKSPACES.current.create_blob(_text(name)).set(deserialize([content]))


def get_blob_size_bytes(name: str) -> int:
    content = WORKSPACES.current.blob(_text(name)).content
    return getattr(getattr(content, "data", content), "nbytes", 0) if content is not None else 0


def get_blob_numa_node(name: str) -> int:
    return -1


# ------------------------------------------------------------------------------------- nets, operators


def create_net(net: bytes, overwrite: bool = False) -> bool:
    WORKSPACES.current.create_net(_message(caffe2_pb2.NetDef, net), overwrite)
    return True


def run_net(name: str, num_iter: int = 1, allow_fail: bool = False) -> bool:
    try:
        WORKSPACES.current.run_net(_text(name), num_iter)
    except RuntimeError:
        if not allow_fail:
            raise
        return False
    return True


def run_net_once(net: bytes) -> bool:
    WORKSPACES.current.run_net_once(_message(caffe2_pb2.NetDef, net))
    return True


def delete_net(name: str) -> bool:
    WORKSPACES.current.delete_net(name)
    return True


def nets() -> list[str]:
    return sorted(WORKSPACES.current.nets)


def run_operator_once(op: bytes) -> bool:
    WORKSPACES.current.run_operator(_message(caffe2_pb2.OperatorDef, op))
    return True


def run_operator_multiple(op: bytes, num_runs: int) -> bool:
    for _ in range(num_runs):
        run_operator_once(op)
    return True


def run_plan(plan: bytes) -> bool:
    WORKSPACES.current.run_plan(_message(caffe2_pb2.PlanDef, plan))
    return True


def benchmark_net(name: str, warmup_runs: int, main_runs: int, run_individual: bool) -> list[float]:
    return benchmark(WORKSPACES.current.net(_text(name)), warmup_runs, main_runs, run_individual)


def benchmark_net_once(name: str) -> float:
    return benchmark(WORKSPACES.current.net(_text(name)), 0, 1, False)[0]


def registered_operators() -> list[str]:
    return sorted(known_operators())


def nearby_opnames(name: str) -> list[str]:
    return nearby(name)


def op_registry_key(op_type: str, engine: str) -> str:
    return op_type if engine in ("", "DEFAULT") else f"{op_type}_ENGINE_{engine}"


def registered_dbs() -> list[str]:
    return ["minidb", "MiniDB"]


def infer_shapes_and_types_from_workspace(nets: list[bytes]) -> bytes:
    contents = {name: WORKSPACES.current.blob(name).content for name in blobs()}
    known = {
        name: TensorType.of(value) for name, value in contents.items() if isinstance(value, np.ndarray | Int8Tensor)
    }
    return types.infer([_message(caffe2_pb2.NetDef, net) for net in nets], known).SerializeToString()


def infer_shapes_and_types_from_map(
    nets: list[bytes], dimensions: Mapping[str, Any], data_types: Mapping[str, int] | None = None
) -> bytes:
    known = types.given(dimensions, data_types or {})
    return types.infer([_message(caffe2_pb2.NetDef, net) for net in nets], known).SerializeToString()


def infer_op_input_output_device(op: bytes) -> tuple[list[bytes], list[bytes]]:
    """Every blob of an operator is on the operator's device."""
    parsed = _message(caffe2_pb2.OperatorDef, op)
    device = parsed.device_option.SerializeToString()
    return [device] * len(parsed.input), [device] * len(parsed.output)


def register_python_op(function: Any, pass_workspace: bool, builder: str = "") -> str:
    return WORKSPACES.register(function, pass_workspace)


def register_python_gradient_op(token: str, function: Any) -> None:
    """Gradients are not run."""


# ------------------------------------------------------------------------------------------- workspaces


class Net:
    """A net of a workspace."""

    def __init__(self, owner: workspace.Workspace, name: str):
        self._owner, self._name = owner, name

    def run(self) -> None:
        self._owner.run_net(self._name)


class _WorkspaceType(type):
    @property
    def current(cls) -> "Workspace":
        """The workspace that functions without one work on."""
        return cls(WORKSPACES.current)


class Workspace(metaclass=_WorkspaceType):
    """A workspace: a new one without a name, or a handle of one that is there."""

    def __init__(self, held: "workspace.Workspace | Workspace | None" = None):
        if isinstance(held, Workspace):
            held = WORKSPACES.make(parent=held._held)
        self._held = held if held is not None else WORKSPACES.make()

    @property
    def blobs(self) -> dict[str, Blob]:
        return {name: Blob(self._held.blob(name)) for name in self._held.blob_names()}

    @property
    def nets(self) -> dict[str, Net]:
        return {name: Net(self._held, name) for name in self._held.nets}

    def has_blob(self, name: str) -> bool:
        return self._held.has_blob(name)

    def create_blob(self, name: str) -> Blob:
        return Blob(self._held.create_blob(name))

    def fetch_blob(self, name: str) -> Any:
        return self._held.blob(name).fetch()

    def remove_blob(self, blob: Any) -> None:
        self._held.remove_blob(str(blob))

    def _remove_blob(self, name: str) -> None:
        self._held.remove_blob(name)

    def _create_net(self, net: bytes, overwrite: bool = False) -> Net:
        return Net(self._held, self._held.create_net(_message(caffe2_pb2.NetDef, net), overwrite).name)

    def _run_net(self, net: bytes) -> None:
        self._held.run_net_once(_message(caffe2_pb2.NetDef, net))

    def _run_operator(self, op: bytes) -> None:
        self._held.run_operator(_message(caffe2_pb2.OperatorDef, op))

    def _run_plan(self, plan: bytes) -> None:
        self._held.run_plan(_message(caffe2_pb2.PlanDef, plan))

    def _last_failed_op_net_position(self) -> int:
        return self._held.failed_position


def current_workspace() -> str:
    return WORKSPACES.current_name


def workspaces() -> list[str]:
    return WORKSPACES.names


def switch_workspace(name: str, create_if_missing: bool = False) -> None:
    WORKSPACES.switch(name, create_if_missing)


def create_child_workspace(parent: str, child: str) -> None:
    WORKSPACES.create_child(parent, child)


def reset_workspace(root_folder: str | None = None) -> bool:
    WORKSPACES.reset(root_folder or ".")
    return True


def root_folder() -> str:
    return WORKSPACES.current.root_folder


class Predictor(predictor.Predictor):
    """A predictor from serialized nets."""

    def __init__(self, init_net: bytes, predict_net: bytes):
        super().__init__(_message(caffe2_pb2.NetDef, init_net), _message(caffe2_pb2.NetDef, predict_net))


# ---------------------------------------------------------------------------------------------- process


def global_init(args: list[str]) -> None:
    """Caffe2's flags say nothing here."""


def get_build_options() -> dict[str, str]:
    return {}


def get_stats() -> dict[str, int]:
    return {}


def num_cuda_devices() -> int:
    return 0


def get_num_numa_nodes() -> int:
    return 1


class DummyName:
    """Names that nobody has used: converters call their own blobs so."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._count = 0

    def reset(self, used: set[str]) -> None:
        self._used = set(used)
        self._count = 0

    def new_dummy_name(self) -> str:
        while True:
            name = f"OC2_DUMMY_{self._count}"
            self._count += 1
            if name not in self._used:
                self._used.add(name)
                return name


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _message(kind: Any, content: bytes) -> Any:
    """Raises TypeError for what is no serialized message, RuntimeError for one that is broken."""
    if not isinstance(content, bytes):
        raise TypeError(f"incompatible function arguments: a serialized {kind.__name__} is expected, not {content!r}")
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise RuntimeError(f"Can't parse {kind.__name__}: {error}") from None
