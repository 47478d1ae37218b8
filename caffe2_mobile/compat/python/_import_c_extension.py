"""caffe2.python._import_c_extension, by custom imported as C: what Caffe2's C++ core gave to Python.

Where Caffe2's own takes serialized messages, the messages themselves do as well.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from caffe2_common.errors import ModelError
from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import utils
from caffe2_mobile.compat.runtime import predictor, types, workspace
from caffe2_mobile.compat.runtime.benchmark import benchmark
from caffe2_mobile.compat.runtime.blob import Blob as RuntimeBlob
from caffe2_mobile.compat.runtime.known import known_operators, nearby
from caffe2_mobile.compat.runtime.serialization import deserialize, serialize_whole
from caffe2_mobile.compat.runtime.tensors import TensorCPU
from caffe2_mobile.compat.runtime.workspace import WORKSPACES
from caffe2_models import tensors
from caffe2_models.net import Node
from caffe2_models.tensors import TensorType

__all__ = ["TensorCPU"]

has_cuda_support = has_hip_support = has_gpu_support = has_mkldnn = False
use_mkldnn = use_rocm = use_trt = is_asan = False
is_numa_enabled = False
define_caffe2_no_operator_schema = False


# ------------------------------------------------------------------------------------------------ blobs


class Int8Tensor(NamedTuple):
    """A quantized blob as it is fetched: real value = scale * (data - zero_point)."""

    data: np.ndarray
    scale: float
    zero_point: int


class Blob:
    """A blob of a workspace."""

    def __init__(self, blob: RuntimeBlob):
        self._blob = blob

    def feed(self, value: Any, device_option: Any = None) -> bool:
        """Put a copy of an array, a TensorProto or a string in."""
        return feed(self._blob, value)

    _feed = feed

    def fetch(self) -> Any:
        return self._blob.fetch()

    def is_tensor(self) -> bool:
        return self._blob.is_tensor

    def tensor(self) -> TensorCPU:
        """Its tensor, which may be written to."""
        return TensorCPU(self._blob, is_output=True)

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
    return WORKSPACES.current.has_blob(as_text(name))


def create_blob(name: str) -> bool:
    WORKSPACES.current.create_blob(as_text(name))
    return True


def reset_blob(name: str) -> None:
    WORKSPACES.current.blob(as_text(name)).set(None)


def feed_blob(name: str, value: Any, device_option: Any = None) -> bool:
    return feed(WORKSPACES.current.create_blob(as_text(name)), value)


def feed(blob: RuntimeBlob, value: Any) -> bool:
    """Put a copy of an array, a TensorProto or a string into a blob."""
    if type(value) is np.ndarray:
        return blob.feed(value)
    return blob.feed(utils.Caffe2TensorToNumpyArray(value) if isinstance(value, caffe2_pb2.TensorProto) else value)


def fetch_blob(name: str) -> Any:
    return WORKSPACES.current.blob(as_text(name)).fetch()


def serialize_blob(name: str) -> bytes:
    return serialize_whole(as_text(name), WORKSPACES.current.blob(as_text(name)).content)


def deserialize_blob(name: str, content: bytes) -> None:
    WORKSPACES.current.create_blob(as_text(name)).set(deserialize([content]))


def get_blob_size_bytes(name: str) -> int:
    content = WORKSPACES.current.blob(as_text(name)).content
    return getattr(getattr(content, "data", content), "nbytes", 0) if content is not None else 0


def get_blob_numa_node(name: str) -> int:
    return -1


# ------------------------------------------------------------------------------------- nets, operators


def create_net(net: Any, overwrite: bool = False) -> bool:
    WORKSPACES.current.create_net(as_message(caffe2_pb2.NetDef, net), overwrite)
    return True


def run_net(name: str, num_iter: int = 1, allow_fail: bool = False) -> bool:
    """allow_fail: Caffe2 raises all the same where an operator fails."""
    WORKSPACES.current.run_net(as_text(name), num_iter)
    return True


def run_net_once(net: Any) -> bool:
    WORKSPACES.current.run_net_once(as_message(caffe2_pb2.NetDef, net))
    return True


def delete_net(name: str) -> bool:
    WORKSPACES.current.delete_net(name)
    return True


def nets() -> list[str]:
    return sorted(WORKSPACES.current.nets)


def run_operator_once(op: Any) -> bool:
    WORKSPACES.current.run_operator(as_message(caffe2_pb2.OperatorDef, op))
    return True


def run_operator_multiple(op: Any, num_runs: int) -> bool:
    for _ in range(num_runs):
        run_operator_once(op)
    return True


def run_plan(plan: Any) -> bool:
    WORKSPACES.current.run_plan(as_message(caffe2_pb2.PlanDef, plan))
    return True


def benchmark_net(name: str, warmup_runs: int, main_runs: int, run_individual: bool) -> list[float]:
    return benchmark(WORKSPACES.current.net(as_text(name)), warmup_runs, main_runs, run_individual)


def benchmark_net_once(name: str) -> float:
    return benchmark(WORKSPACES.current.net(as_text(name)), 0, 1, False)[0]


def get_operator_cost(op: Any, blobs: list[str]) -> tuple[int, int]:
    """(floating-point operations, bytes written), of multiplications and the sums that go with them."""
    node = Node(as_message(caffe2_pb2.OperatorDef, op), 0)
    types = {name: TensorType.of(WORKSPACES.current.blob(name).tensor()) for name in blobs}
    try:
        inputs, outputs = node.infer(types)
        return 2 * node.operator.macs(*inputs), sum(t.nbytes for t in outputs)
    except ModelError as error:
        raise RuntimeError(str(error)) from error


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
    known = {name: TensorType.of(value) for name, value in contents.items() if isinstance(value, tensors.Value)}
    return types.infer([as_message(caffe2_pb2.NetDef, net) for net in nets], known).SerializeToString()


def infer_shapes_and_types_from_map(
    nets: list[bytes], dimensions: Mapping[str, Any], data_types: Mapping[str, int] | None = None
) -> bytes:
    known = types.given(dimensions, data_types or {})
    return types.infer([as_message(caffe2_pb2.NetDef, net) for net in nets], known).SerializeToString()


def infer_op_input_output_device(op: bytes) -> tuple[list[bytes], list[bytes]]:
    """Every blob of an operator is on the operator's device."""
    parsed = as_message(caffe2_pb2.OperatorDef, op)
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
        self._held: workspace.Workspace
        if isinstance(held, workspace.Workspace):
            self._held = held
        else:
            self._held = WORKSPACES.make(parent=held._held if held is not None else None)

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

    def feed_blob(self, name: Any, arr: Any, device_option: Any = None) -> bool:
        return Blob(self._held.create_blob(str(name))).feed(arr)

    def fetch_int8_blob(self, name: str) -> Int8Tensor:
        result = self.fetch_blob(name)
        assert isinstance(result, tuple), f"You are not fetching an Int8Blob {name}. Please use fetch_blob"
        return Int8Tensor(*result)

    def create_net(self, net: Any, overwrite: bool = False) -> Net:
        return Net(self._held, self._held.create_net(as_message(caffe2_pb2.NetDef, net), overwrite).name)

    def run(self, obj: Any) -> None:
        """Run a net, a plan or an operator, once."""
        obj = obj.Proto() if hasattr(obj, "Proto") else obj
        if isinstance(obj, caffe2_pb2.PlanDef):
            self._held.run_plan(obj)
        elif isinstance(obj, caffe2_pb2.NetDef):
            self._held.run_net_once(obj)
        elif isinstance(obj, caffe2_pb2.OperatorDef):
            self._held.run_operator(obj)
        else:
            raise ValueError(f"Don't know how to do Workspace.run() on {type(obj)}")

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
    """A predictor from nets, serialized or not."""

    def __init__(self, init_net: Any, predict_net: Any):
        super().__init__(as_message(caffe2_pb2.NetDef, init_net), as_message(caffe2_pb2.NetDef, predict_net))


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


def as_text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def as_message(kind: Any, obj: Any) -> Any:
    """A message of this kind, from itself, from what has one (core.Net ...), or from its serialized form.

    Raises TypeError for what is none of these, RuntimeError for a serialized one that is broken.
    """
    obj = obj.Proto() if hasattr(obj, "Proto") else obj
    if isinstance(obj, kind):
        return obj
    if not isinstance(obj, bytes):
        raise TypeError(f"incompatible function arguments: a {kind.__name__}, or its bytes, is expected, not {obj!r}")
    try:
        return kind.FromString(obj)
    except DecodeError as error:
        raise RuntimeError(f"Can't parse {kind.__name__}: {error}") from None
