"""caffe2.python.core: operators and nets written down from Python."""

import copy
import os
import traceback
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

import caffe2_mobile.compat.python._import_c_extension as C
from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import scope, utils, workspace
from caffe2_mobile.compat.runtime.known import TRAINING, known_operators

DeviceScope = scope.DeviceScope
NameScope = scope.NameScope


class DataType:
    """TensorProto.DataType's values by name."""


for _name, _value in caffe2_pb2.TensorProto.DataType.items():
    setattr(DataType, _name, _value)


# ---------------------------------------------------------------------------------------------- process

_GLOBAL_INIT_ARGS: list[str] = []


def GlobalInit(args: Sequence[str]) -> None:
    """Take Caffe2's command-line flags, which say nothing here."""
    _GLOBAL_INIT_ARGS.extend(args[1:])
    C.global_init(list(args))


def GetGlobalInitArgs() -> list[str]:
    return list(_GLOBAL_INIT_ARGS)


_REGISTERED_OPERATORS = known_operators()


def RefreshRegisteredOperators(trigger_lazy: bool = True) -> None:
    """No library adds operators here."""


def IsOperator(op_type: str) -> bool:
    """Whether Caffe2 has this operator; running it may be refused all the same."""
    return op_type in known_operators()


def IsOperatorWithEngine(op_type: str, engine: str) -> bool:
    return C.op_registry_key(op_type, engine) in known_operators()


def _unknown_operator(op_type: str) -> AttributeError:
    near = ",".join(C.nearby_opnames(op_type))
    return AttributeError(f"Method {op_type} is not a registered operator. Did you mean: [{near}]")


def IsGPUDeviceType(device_type: int) -> bool:
    return device_type in {caffe2_pb2.CUDA, caffe2_pb2.HIP}


def SetEnginePref(*_: Any) -> None:
    """Engines are Caffe2's choice of kernels; here the session chooses."""


SetPerOpEnginePref = SetGlobalEnginePref = SetOpEnginePref = SetEnginePref


# ---------------------------------------------------------------------------------------------- devices


def DeviceOption(
    device_type: int,
    device_id: int = 0,
    random_seed: int | None = None,
    node_name: str | None = None,
    numa_node_id: int | None = None,
    extra_info: Iterable[str] | None = None,
) -> caffe2_pb2.DeviceOption:
    """Where an operator runs, and its random seed."""
    option = caffe2_pb2.DeviceOption(device_type=device_type, device_id=device_id)
    if node_name is not None:
        option.node_name = node_name
    if random_seed is not None:
        option.random_seed = random_seed
    if numa_node_id is not None:
        assert device_type == caffe2_pb2.CPU
        option.numa_node_id = numa_node_id
    if extra_info is not None:
        option.extra_info.extend(extra_info)
    return option


def device_option_equal(opt1: Any, opt2: Any, ignore_node_name: bool = True, ignore_random_seed: bool = True) -> bool:
    if not opt1 or not opt2:
        return opt1 == opt2
    if not ignore_node_name and opt1.node_name != opt2.node_name:
        return False
    if not ignore_random_seed and opt1.random_seed != opt2.random_seed:
        return False
    if not opt1.device_type or not opt2.device_type:
        return not opt1.device_type and not opt2.device_type
    return opt1.device_id == opt2.device_id


def InferBlobDevices(net: "Net") -> dict[str, Any]:
    """Blob -> device of the operator that writes it."""
    return {blob: op.device_option for op in net.Proto().op for blob in op.output}


def InferOpDeviceAsBlobDevices(op: Any) -> tuple[list[Any], list[Any]]:
    return [op.device_option] * len(op.input), [op.device_option] * len(op.output)


InferOpBlobDevices = InferOpDeviceAsBlobDevices


def InferOpBlobDevicesAsDict(op: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    inputs, outputs = InferOpBlobDevices(op)
    return dict(zip(op.input, inputs, strict=True)), dict(zip(op.output, outputs, strict=True))


# ------------------------------------------------------------------------------------- names, operators

GradientSlice = namedtuple("GradientSlice", ["indices", "values"])


class BlobReference:
    """A blob's name, and the net that it belongs to: blob.Relu(...) adds an operator to that net."""

    def __init__(self, name: Any, net: "Net | None" = None):
        self._name: str = name.decode() if isinstance(name, bytes) else str(name)
        self._from_net = net
        self.meta: dict[str, Any] = {}

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, bytes):
            other = other.decode()
        return isinstance(other, str | BlobReference) and self._name == str(other)

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f'BlobReference("{self._name}")'

    def __add__(self, other: Any) -> "BlobReference":
        if not isinstance(other, str):
            raise RuntimeError("Cannot add BlobReference to a non-string.")
        return BlobReference(self._name + other, self._from_net)

    def __radd__(self, other: Any) -> "BlobReference":
        if not isinstance(other, str):
            raise RuntimeError("Cannot add a non-string to BlobReference.")
        return BlobReference(other + self._name, self._from_net)

    def Net(self) -> "Net | None":
        return self._from_net

    def GetNameScope(self) -> str:
        return self._name[: self._name.rfind(scope._NAMESCOPE_SEPARATOR) + 1]

    def GetUnscopedName(self) -> str:
        return self._name[self._name.rfind(scope._NAMESCOPE_SEPARATOR) + 1 :]

    def __getattr__(self, op_type: str) -> Callable:
        """What adds an operator of this type, with this blob as its first input."""
        if op_type.startswith("__"):
            raise AttributeError(f"Attribute {op_type} not found.")
        net = self.__dict__.get("_from_net")
        if net is None:
            raise AttributeError(
                "You cannot use a blob reference that does not have a net source to create operators. "
                "Create the operator from an explicit net object."
            )
        if not IsOperator(op_type):
            raise _unknown_operator(op_type)

        def add(inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
            rest = [inputs] if isinstance(inputs, str | BlobReference) else list(inputs or [])
            return getattr(net, op_type)([self, *rest], *args, **kwargs)

        return add


def ScopedName(name: Any) -> str:
    """The name with the current scope's prefix."""
    return scope.CurrentNameScope() + (name.decode("ascii") if isinstance(name, bytes) else name)


def ScopedBlobReference(name: Any, *args: Any, **kwargs: Any) -> BlobReference:
    return BlobReference(ScopedName(name), *args, **kwargs)


def _RectifyInputOutput(blobs: Any, net: "Net | None" = None) -> list[BlobReference]:
    """References, from one or several names, which get the scope's prefix, or references, which do not."""
    if isinstance(blobs, str | bytes):
        return [ScopedBlobReference(blobs, net=net)]
    if isinstance(blobs, BlobReference):
        return [blobs]
    if not isinstance(blobs, list | tuple):
        raise TypeError(f"Unknown input/output type: {blobs} of type {type(blobs)}.")
    rectified = []
    for position, blob in enumerate(blobs):
        if not isinstance(blob, str | bytes | BlobReference):
            raise TypeError(f"I/O blob #{position} of unsupported type: {blob} of type {type(blob)}")
        rectified.append(blob if isinstance(blob, BlobReference) else ScopedBlobReference(blob, net=net))
    return rectified


def CreateOperator(
    operator_type: str,
    inputs: Any,
    outputs: Any,
    name: str = "",
    control_input: Any = None,
    device_option: Any = None,
    arg: Iterable[Any] | None = None,
    engine: str | None = None,
    debug_info: str | None = None,
    **kwargs: Any,
) -> caffe2_pb2.OperatorDef:
    """An operator's definition; what is not named here becomes an argument of its own.

    The device is that of the scope, where none is given. Names get the scope's prefix.
    """
    operator = caffe2_pb2.OperatorDef(type=operator_type, name=name)
    operator.input.extend(str(blob) for blob in _RectifyInputOutput(inputs))
    operator.output.extend(str(blob) for blob in _RectifyInputOutput(outputs))
    if control_input:
        operator.control_input.extend(str(blob) for blob in _RectifyInputOutput(control_input))
    device = device_option if device_option is not None else scope.CurrentDeviceScope()
    if device is not None:
        operator.device_option.CopyFrom(device)
    if engine is not None:
        operator.engine = engine
    if debug_info is not None:
        operator.debug_info = debug_info
    elif os.environ.get("CAFFE2_DEBUG"):
        operator.debug_info = "".join(traceback.format_stack()[:-1])
    if "random_seed" in kwargs:
        operator.device_option.random_seed = kwargs.pop("random_seed")
    operator.arg.extend(arg or [])
    for key, value in kwargs.items():
        if value is not None:
            operator.arg.add().CopyFrom(utils.MakeArgument(key, value))
    if workspace.IsImmediate():
        workspace.RunOperatorImmediate(operator)
    return operator


def _python_token(function: Any, python_func_type: Any, pass_workspace: bool) -> str:
    """A token for a Python operator's function: the function, or (maker, args, kwargs) of it."""
    if python_func_type:
        function = python_func_type(function).forward
    elif isinstance(function, tuple):
        maker, args, kwargs = function
        function = maker(*args, **kwargs)
    return C.register_python_op(function, pass_workspace, "")


def CreatePythonOperator(
    f: Any,
    inputs: Any,
    outputs: Any,
    grad_f: Any = None,
    pass_workspace: bool = False,
    python_func_type: Any = None,
    *args: Any,
    **kwargs: Any,
) -> caffe2_pb2.OperatorDef:
    """An operator that calls f(inputs, outputs), and with pass_workspace f(inputs, outputs, workspace)."""
    kwargs["token"] = _python_token(f, python_func_type, pass_workspace)
    return CreateOperator("Python", inputs, outputs, *args, **kwargs)


# ---------------------------------------------------------------------------------- versions of blobs


def get_ssa(net: Any, blob_versions: dict[str, int] | None = None) -> tuple[list[Any], dict[str, int]]:
    """([(inputs, outputs)] of the operators, each a list of (blob, version), and the last version of each blob)."""
    versions = {} if blob_versions is None else blob_versions
    if isinstance(net, list):
        return [get_ssa(each, versions) for each in net], versions
    proto = net.Proto() if isinstance(net, Net) else net
    assert isinstance(proto, caffe2_pb2.NetDef)
    for name in proto.external_input:
        versions.setdefault(str(name), 0)
    ssa = []
    for op in proto.op:
        if not proto.external_input:
            for name in op.input:
                versions.setdefault(name, 0)
        inputs = [(str(name), versions.get(name, 0)) for name in op.input]
        for name in op.output:
            versions[str(name)] = versions.get(name, 0) + 1
        ssa.append((inputs, [(str(name), versions[name]) for name in op.output]))
    return ssa, versions


def get_undefined_blobs(ssa: Iterable[Any]) -> set[str]:
    """Blobs that are read before anything writes them."""
    return {name for inputs, _ in ssa for name, version in inputs if version == 0}


def get_output_producers(ssa: Iterable[Any]) -> dict[tuple[str, int], int]:
    """(blob, version) -> the operator that writes it."""
    return {output: position for position, (_, outputs) in enumerate(ssa) for output in outputs}


def get_op_ids_in_path(
    ssa: Sequence[Any], blob_versions: Mapping[str, int], inputs: Iterable[Any], outputs: Iterable[Any]
) -> list[int]:
    """The operators that the last versions of `outputs` need, given the last versions of `inputs`."""
    given = {(str(name), blob_versions[str(name)]) for name in inputs}
    producers = get_output_producers(ssa)
    pending = [(str(name), blob_versions[str(name)]) for name in outputs]
    found: set[int] = set()
    while pending:
        blob = pending.pop()
        if blob in producers and blob not in given and producers[blob] not in found:
            found.add(producers[blob])
            pending.extend(ssa[producers[blob]][0])
    return sorted(found)


# ------------------------------------------------------------------------------------------------- nets


def _net_argument_remap(*arguments: str) -> Callable:
    """What renames the blobs within these arguments of an operator, which are nets."""

    def remap(op: Any, prefix: str, blob_remap: Mapping[str, str]) -> None:
        for argument in op.arg:
            if argument.name in arguments and argument.HasField("n"):
                _remap_net(argument.n, blob_remap)

    return remap


def _remap_net(net: Any, blob_remap: Mapping[str, str]) -> None:
    for names in [net.external_input, net.external_output, *(n for op in net.op for n in (op.input, op.output))]:
        names[:] = [blob_remap.get(name, name) for name in names]


DEFAULT_REMAP_FUNCS = {
    "RecurrentNetwork": _net_argument_remap("step_net", "backward_step_net"),
    "If": _net_argument_remap("then_net", "else_net"),
    "While": _net_argument_remap("loop_net", "cond_net"),
}


class Net:
    """A net being written. net.Relu("x", "y") adds an operator: any operator's name is a method."""

    _net_names_used: ClassVar[set[str]] = set()

    @staticmethod
    def _get_next_net_name(basename: str) -> str:
        """The name, with _1, _2 ... where a net has it already."""
        name, index = basename, 1
        while name in Net._net_names_used:
            name = f"{basename}_{index}"
            index += 1
        Net._net_names_used.add(name)
        return name

    def __init__(self, name_or_proto: Any):
        """An empty net of this name, or a copy of a NetDef."""
        self._net = caffe2_pb2.NetDef()
        self._input_record = None
        self._output_record = None
        self._attributes: dict[str, list[Any]] = defaultdict(list)
        self._registered_blob_names: set[str] = set()
        self._next_blob_name_ids: dict[str, int] = {}
        self._next_name_index = 0
        self._defined: set[str] | None = None  # operators' outputs; None where they may have changed
        self._inputs: set[str] = set()
        if isinstance(name_or_proto, caffe2_pb2.NetDef):
            self._net.CopyFrom(name_or_proto)
            self._next_name_index = self._first_free_index()
            name = self._net.name
        else:
            name = str(name_or_proto)
        self._net.name = Net._get_next_net_name(name)

    def _first_free_index(self) -> int:
        """Of names NAME_blob_0, NAME_blob_1 ..., after all that the net has."""
        prefix = f"{self._net.name}_blob_"
        names = {name for op in self._net.op for name in [*op.input, *op.output] if name.startswith(prefix)}
        used = [int(name[len(prefix) :]) for name in names if name[len(prefix) :].isdigit()]
        return max(used, default=-1) + 1

    # -------------------------------------------------------------------------------------- reading it

    def Name(self) -> str:
        return self._net.name

    def __str__(self) -> str:
        return self.Name()

    def Proto(self) -> caffe2_pb2.NetDef:
        """The definition itself, which may be changed."""
        self._defined = None
        return self._net

    @property
    def external_inputs(self) -> list[BlobReference]:
        return [BlobReference(name) for name in self._net.external_input]

    @property
    def external_outputs(self) -> list[BlobReference]:
        return [BlobReference(name) for name in self._net.external_output]

    def input_record(self) -> Any:
        return self._input_record

    def output_record(self) -> Any:
        return self._output_record

    def _names(self) -> tuple[set[str], set[str]]:
        """(operators' outputs, external inputs)"""
        if self._defined is None:
            self._defined = {name for op in self._net.op for name in op.output}
            self._inputs = set(self._net.external_input)
        return self._defined, self._inputs

    def BlobIsDefined(self, blob: Any) -> bool:
        """Whether an operator writes it, or it is an external input."""
        return any(str(blob) in names for names in self._names())

    def is_external_input(self, blob: Any) -> bool:
        return str(blob) in self._names()[1]

    def UsesBlob(self, blob: Any) -> bool:
        """Whether an operator reads it, or it is an external input."""
        return any(str(blob) in op.input for op in self._net.op) or self.is_external_input(blob)

    def UsedBlobNames(self) -> set[str]:
        names = {*self._net.external_input, *self._net.external_output}
        return names.union(*([*op.input, *op.output] for op in self._net.op))

    def GetBlobRef(self, blob_name: Any) -> BlobReference:
        """Raises KeyError for a blob that the net does not define."""
        if not self.BlobIsDefined(blob_name):
            raise KeyError(f"Net does not define blob {blob_name}")
        return BlobReference(str(blob_name), self)

    def add_attribute(self, name: str, obj: Any) -> None:
        """Keep an object of the script's own with the net."""
        self._attributes[name].append(obj)

    def get_attributes(self, name: str) -> list[Any]:
        return self._attributes.get(name, [])

    # ----------------------------------------------------------------------------------------- names

    def NextScopedBlob(self, prefix: str = "unnamed") -> BlobReference:
        """A name with the scope's prefix that the net has not used."""
        return self.NextBlob(ScopedName(prefix))

    def NextBlob(self, prefix: str = "unnamed") -> BlobReference:
        """prefix, or prefix_auto_0 ...: each call gives another."""
        name, index = prefix, 0
        while name in self._registered_blob_names or self.BlobIsDefined(name):
            name = f"{prefix}_auto_{index}"
            index += 1
        self._registered_blob_names.add(name)
        return BlobReference(name)

    def NextName(self, prefix: str | None = None, output_id: int | None = None) -> str:
        """A name for an output that was given none: NET/PREFIX, NET/PREFIX_2 ..., or NET_blob_0 ..."""
        if not prefix:
            self._next_name_index += 1
            return f"{self._net.name}_blob_{self._next_name_index - 1}"
        base = f"{self._net.name}/{prefix}"
        suffix = "" if output_id is None else f":{output_id}"
        name = key = base + suffix
        index = self._next_blob_name_ids.get(key, 2)
        while self.BlobIsDefined(ScopedName(name)):
            name = f"{base}_{index}{suffix}"
            index += 1
            self._next_blob_name_ids[key] = index
        return name

    # ------------------------------------------------------------------------------------- writing it

    def __getattr__(self, op_type: str) -> Callable:
        """What adds an operator of this type: net.Relu(inputs, outputs, **arguments).

        Without outputs it gets one of a name of its own, with a number as many. It gives the outputs'
        references: one bare, several as a tuple, none as None.
        """
        if op_type.startswith("__"):
            raise AttributeError(f"Attribute {op_type} not found.")
        if not IsOperator(op_type) and not IsOperatorWithEngine(op_type, "CUDNN"):
            raise _unknown_operator(op_type)
        return lambda *args, **kwargs: self._add(op_type, *args, **kwargs)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *self.__dict__, *known_operators()})

    def _add(self, op_type: str, inputs: Any, outputs: Any = None, **kwargs: Any) -> Any:
        references = _RectifyInputOutput(inputs)
        for blob in references:
            if not self.BlobIsDefined(blob):
                assert blob.Net() is not self
                self.AddExternalInput(blob)
        if outputs is None:
            outputs = self.NextName(prefix=op_type)
        elif type(outputs) is int:
            outputs = [self.NextName(prefix=op_type, output_id=i) for i in range(outputs)]
        op = CreateOperator(op_type, references, _RectifyInputOutput(outputs, net=self), **kwargs)
        self._ExtendOps([op])
        workspace.operator_tracebacks[self.Name()][len(self._net.op) - 1] = _stack()
        results = tuple(BlobReference(name, self) for name in op.output)
        return results if len(results) > 1 else next(iter(results), None)

    def _ExtendOps(self, new_ops: Iterable[Any]) -> None:
        ops = list(new_ops)
        self._net.op.extend(ops)
        if self._defined is not None:
            self._defined.update(name for op in ops for name in op.output)

    extend_ops = _ExtendOps

    def AddExternalInput(self, *inputs: Any) -> Any:
        """Raises AssertionError for one that the net has."""
        assert len(inputs) > 0
        names = [str(blob) for blob in inputs]
        for position, name in enumerate(names):
            assert not self.is_external_input(name) and name not in names[:position], (
                f"Net already contains an input named {name}"
            )
        self._net.external_input.extend(names)
        self._names()[1].update(names)
        references = [BlobReference(name) for name in names]
        return references[0] if len(references) == 1 else references

    AddExternalInputs = AddExternalInput

    def AddExternalOutput(self, *outputs: Any) -> None:
        for output in outputs:
            assert isinstance(output, BlobReference)
            assert self.BlobIsDefined(output), f"{output} is not defined"
        self._net.external_output.extend(str(output) for output in outputs)

    AddExternalOutputs = AddExternalOutput

    def AddScopedExternalInputs(self, *inputs: Any) -> list[BlobReference]:
        added = self.AddExternalInput(*(ScopedBlobReference(name) for name in inputs))
        return added if isinstance(added, list) else [added]

    def AddScopedExternalOutputs(self, *outputs: Any) -> None:
        self.AddExternalOutput(*(ScopedBlobReference(name) for name in outputs))

    def AddArgument(self, arg_name: str, arg_value: Any) -> None:
        self._net.arg.append(utils.MakeArgument(arg_name, arg_value))

    def AppendNet(self, net: "Net", device_option: Any = None) -> "Net":
        """Add another net's operators, inputs and outputs; with a device, as operators of that device."""
        assert isinstance(net, Net)
        other = net.Proto()
        defined, inputs = self._names()
        new_inputs = [name for name in other.external_input if name not in inputs and name not in defined]
        self._net.external_input.extend(new_inputs)
        inputs.update(new_inputs)
        outputs = list(self._net.external_output)
        self._net.external_output.extend(name for name in other.external_output if name not in outputs)
        ops = [copy.deepcopy(op) for op in other.op]
        for op in ops if device_option is not None else []:
            op.device_option.CopyFrom(device_option)
        self._ExtendOps(ops)
        return self

    def insert_op_at_idx(self, op: Any, op_idx: int) -> None:
        """Insert an operator; its blobs become external ones."""
        assert op_idx >= 0
        proto = self.Proto()
        rest = [copy.deepcopy(each) for each in proto.op[op_idx:]]
        del proto.op[op_idx:]
        proto.op.extend([op, *rest])
        proto.external_output.extend(op.output)
        proto.external_input.extend(op.input)

    def reroute_tensor(self, tensor: Any, new_producer: Any, can_modify: Iterable[Any] | None = None) -> int:
        """Put an operator that reads a blob behind the operators that write what it reads; those of can_modify read its
        output instead of the blob. Gives how many do."""
        old, new = str(tensor), new_producer.output[0]
        is_input = old in self._net.external_input
        assert is_input or old in new_producer.input, f"new producer {new_producer.type} is not taking in {old}"
        writers = [i for i, op in enumerate(self._net.op) if set(op.output) & set(new_producer.input)]
        self.insert_op_at_idx(new_producer, max(writers, default=-1) + 1)
        self._net.external_output[:] = [new if name == old else name for name in self._net.external_output]
        readers = [op for op in self._net.op if op in list(can_modify or [])]
        for op in readers:
            remap_input(op, {old: new})
        return len(readers)

    def PopulateProtoWithFileName(self) -> None:
        """Name operators by where the script made them: FILE:LINE:FUNCTION."""
        for position, frames in workspace.operator_tracebacks.get(self.Name(), {}).items():
            self._net.op[position].name = ":".join(map(str, frames[0]))

    def Const(self, array: Any, blob_out: Any = None, dtype: Any = None) -> Any:
        """A blob of this content."""
        if isinstance(array, bool):
            return self.ConstantFill([], blob_out or 1, dtype=caffe2_pb2.TensorProto.BOOL, value=array)
        array = np.array(array) if dtype is None else np.array(array, dtype=dtype)
        fills = {"int32": "GivenTensorIntFill", "int64": "GivenTensorInt64Fill", "bool": "GivenTensorBoolFill"}
        fill = "GivenTensorStringFill" if array.dtype.kind == "U" else fills.get(array.dtype.name, "GivenTensorFill")
        return getattr(self, fill)([], blob_out or 1, shape=array.shape, values=array.reshape(-1).tolist())

    def LogInfo(self, *msg_or_blobs: Any) -> None:
        """Operators that log texts and blobs when the net runs."""
        for item in msg_or_blobs:
            if not isinstance(item, BlobReference):
                item = self.GivenTensorStringFill([], self.NextName("log"), shape=[], values=[item])
            self.Print(item, [])

    def Python(
        self,
        f: Any,
        grad_f: Any = None,
        python_func_type: Any = None,
        pass_workspace: bool = False,
        grad_output_indices: Any = None,
        grad_input_indices: Any = None,
    ) -> Callable:
        """What adds an operator that calls f(inputs, outputs): net.Python(f)(["x"], ["y"])."""
        token = _python_token(f, python_func_type, pass_workspace)
        return lambda *args, **kwargs: self._add("Python", *args, token=token, **kwargs)

    def set_rand_seed(self, seed: int = 100, sequence_seed: bool = True, seed_on_op_def: bool = False) -> None:
        """Seeds for all operators: seed, seed + 1 ..., or from each operator's definition, or the same."""
        assert not (sequence_seed and seed_on_op_def), "sequence_seed and seed_on_op_def cannot be both set to True."
        for position, op in enumerate(self._net.op):
            own = hash(str(op) + str(seed)) % np.iinfo(np.uint32).max if seed_on_op_def else seed
            op.device_option.random_seed = own + position if sequence_seed else own

    def RunAllOnGPU(self, gpu_id: int = 0, use_cudnn: bool = False) -> None:
        """Ask for a GPU; it runs on the CPU."""
        self._net.device_option.CopyFrom(DeviceOption(workspace.GpuDeviceType, gpu_id))
        if use_cudnn:
            for op in self._net.op:
                op.engine = "CUDNN"
        for op in self._net.op:
            for step in (arg.n for arg in op.arg if op.type == "RecurrentNetwork" and arg.name == "step_net"):
                step.device_option.CopyFrom(self._net.device_option)

    def RunAllOnMKL(self) -> None:
        self._net.device_option.CopyFrom(caffe2_pb2.DeviceOption(device_type=caffe2_pb2.MKLDNN))

    def RunAllOnIDEEP(self) -> None:
        self._net.device_option.CopyFrom(caffe2_pb2.DeviceOption(device_type=caffe2_pb2.IDEEP))

    def AddGradientOperators(self, ys: Any, skip: int = 0) -> Any:
        raise NotImplementedError(f"Net.AddGradientOperators is not in caffe2-mobile: {TRAINING}")

    # ------------------------------------------------------------------------------------------ copies

    def Clone(
        self,
        name: str,
        blob_remap: Mapping[str, Any] | None = None,
        op_id_mask: Iterable[int] | None = None,
        remap_funcs: Mapping[str, Callable] | None = None,
        keep_schema: bool = True,
        update_external_list: bool = False,
    ) -> "Net":
        """A copy under another name, with blobs renamed and, with op_id_mask, of these operators only."""
        renamed = {str(old): str(new) for old, new in (blob_remap or {}).items()}
        functions = {**DEFAULT_REMAP_FUNCS, **(remap_funcs or {})}
        proto = caffe2_pb2.NetDef()
        proto.CopyFrom(self._net)
        proto.name = name
        if op_id_mask is not None:
            del proto.op[:]
            proto.op.extend(self._net.op[position] for position in op_id_mask)
        _remap_net(proto, renamed)
        for op in proto.op:
            if op.type in functions:
                functions[op.type](op, f"{name}/" if name else "", renamed)
        cloned = Net(proto)
        cloned._attributes.update(self._attributes)
        if update_external_list:
            cloned._list_externals()
        return cloned

    def _list_externals(self) -> None:
        """Make what is read before it is written the inputs, and what is written and not read the outputs."""
        proto = self.Proto()
        del proto.external_input[:], proto.external_output[:]
        written: dict[str, bool] = {}  # whether it has been read
        for op in proto.op:
            for name in op.input:
                if name in written:
                    written[name] = True
                elif name not in proto.external_input:
                    proto.external_input.append(name)
            for name in op.output:
                written.setdefault(name, False)
        proto.external_output.extend(name for name, is_read in written.items() if not is_read)

    def ClonePartial(
        self, name: str, inputs: Any, outputs: Sequence[Any], remap_funcs: Mapping[str, Callable] | None = None
    ) -> tuple["Net", list[BlobReference]]:
        """(a copy of what computes `outputs` from `inputs`, references to its outputs); inner blobs are renamed.

        inputs: a list, or old -> new names.
        """
        pairs = isinstance(inputs, list) and all(isinstance(each, tuple) and len(each) == 2 for each in inputs)
        mapping = (
            inputs if isinstance(inputs, dict) else OrderedDict(inputs if pairs else zip(inputs, inputs, strict=True))
        )
        for output in outputs:
            assert self.BlobIsDefined(output), f"{output} is not defined"
        input_names = {str(old): str(new) for old, new in mapping.items()}
        output_names = [str(output) for output in outputs]
        ssa, versions = get_ssa(self._net, dict.fromkeys(input_names, 0))
        needed = get_op_ids_in_path(ssa, versions, input_names, output_names)
        assert not set(needed) & set(get_op_ids_in_path(ssa, versions, [], input_names)), (
            "Cannot partially clone net: some of the ops required would generate the given input."
        )
        undefined = get_undefined_blobs([ssa[position] for position in needed]) - input_names.keys()
        prefix = f"{name}/" if name else ""
        renamed = {blob: input_names.get(blob, blob if blob in undefined else prefix + blob) for blob in versions}
        cloned = self.Clone(name, renamed, needed, remap_funcs)
        proto = cloned.Proto()
        proto.external_input[:] = [*(renamed[blob] for blob in input_names), *sorted(undefined)]
        proto.external_output[:] = [renamed[blob] for blob in output_names]
        return cloned, [cloned.GetBlobRef(blob) for blob in proto.external_output]


def _stack() -> list[tuple[str, int, str]]:
    """Where the script is, innermost first, without this module."""
    frames = traceback.extract_stack()[:-1]
    return [(f.filename, f.lineno or 0, f.name) for f in reversed(frames) if f.filename != __file__]


def remap_input(op: Any, blob_name_remapping: Mapping[str, str]) -> None:
    op.input[:] = [blob_name_remapping.get(name, name) for name in op.input]


def get_net_name(netlike: Any) -> Any:
    if isinstance(netlike, Net):
        return netlike.Name()
    return netlike.name if isinstance(netlike, caffe2_pb2.NetDef) else netlike


def output_to_list(op_output: Any) -> list[BlobReference]:
    """An operator's outputs as a list, also where it has one."""
    assert type(op_output) in (list, tuple, BlobReference)
    return [op_output] if isinstance(op_output, BlobReference) else list(op_output)


def InjectCrossDeviceCopies(
    net: Net, blob_to_device: Any = None, blob_remap: Any = None, **_: Any
) -> tuple[Net, dict[str, Any]]:
    """Nothing needs to be copied: all devices are the CPU."""
    return net.Clone(net.Name() + "_cross_device"), dict(blob_to_device or {})


# ------------------------------------------------------------------------------------------------ plans


class ExecutionStep:
    """Nets, or steps, that run one after the other, some number of times."""

    _step_names_used: ClassVar[set[str]] = set()

    @staticmethod
    def _get_next_step_name(basename: str) -> str:
        name, index = basename, 1
        while name in ExecutionStep._step_names_used:
            name = f"{basename}_{index}"
            index += 1
        ExecutionStep._step_names_used.add(name)
        return name

    def __init__(self, name: str | None, nets: Any = None, num_iter: int | None = None):
        self._step = caffe2_pb2.ExecutionStep(name=name or ExecutionStep._get_next_step_name("step"))
        self._nets: dict[str, Net] = {}
        self._substeps: list[ExecutionStep] = []
        for net in [nets] if isinstance(nets, Net) else nets or []:
            self.AddNet(net)
        if num_iter is not None:
            self._step.num_iter = num_iter

    def Name(self) -> str:
        return self._step.name

    def __str__(self) -> str:
        return self._step.name

    def Proto(self) -> caffe2_pb2.ExecutionStep:
        return self._step

    def HasNets(self) -> bool:
        return bool(self._step.network)

    def HasSubsteps(self) -> bool:
        return bool(self._step.substep)

    def Nets(self) -> list[Net]:
        return list(self._nets.values())

    def get_net(self, name: str) -> Net:
        return self._nets[name]

    def Substeps(self) -> list["ExecutionStep"]:
        return self._substeps

    def SetIter(self, num_iter: int) -> None:
        self._step.num_iter = num_iter

    def SetOnlyOnce(self, only_once: bool) -> None:
        self._step.only_once = only_once

    def SetShouldStopBlob(self, should_stop_blob: Any) -> None:
        self._step.should_stop_blob = str(should_stop_blob)

    def SetReportNet(self, report_net: Any, report_interval: int) -> None:
        self._step.report_net, self._step.report_interval = get_net_name(report_net), report_interval

    def SetConcurrentSubsteps(self, concurrent_substeps: bool) -> None:
        """They run one after the other all the same."""
        self._step.concurrent_substeps = concurrent_substeps

    def AddSubstep(self, substep: "ExecutionStep") -> None:
        assert not self.HasNets(), "Cannot have both network and substeps."
        self._substeps.append(substep)
        self._nets.update(substep._nets)
        self._step.substep.append(substep._step)

    def AddNet(self, net: Net) -> None:
        assert not self.HasSubsteps(), "Cannot have both network and substeps."
        assert isinstance(net, Net)
        self._nets[net.Name()] = net
        self._step.network.append(net.Name())


class Plan:
    """Steps, and the nets that they run."""

    def __init__(self, name_or_step: Any):
        step = name_or_step if isinstance(name_or_step, ExecutionStep) else None
        self._plan = caffe2_pb2.PlanDef(name=step.Name() if step else name_or_step)
        self._nets: dict[str, Net] = {}
        if step:
            self.AddStep(step)

    def __str__(self) -> str:
        return self._plan.name

    def Proto(self) -> caffe2_pb2.PlanDef:
        return self._plan

    def Nets(self) -> list[Net]:
        return list(self._nets.values())

    def AddNets(self, nets: Iterable[Net]) -> None:
        for net in nets:
            if net.Name() not in self._nets:
                self._nets[net.Name()] = net
                self._plan.network.append(net.Proto())

    def AddStep(self, step: ExecutionStep) -> None:
        self.AddNets(step.Nets())
        self._plan.execution_step.append(step.Proto())


def to_execution_step(step_or_nets: Any, default_name: str | None = None) -> ExecutionStep:
    """A step, from a step, a net or several nets."""
    if isinstance(step_or_nets, ExecutionStep):
        return step_or_nets
    if not default_name and hasattr(step_or_nets, "name"):
        default_name = step_or_nets.name
    return ExecutionStep(default_name, step_or_nets)


def execution_step(
    default_name: str | None,
    steps_or_nets: Any,
    num_iter: int | None = None,
    should_stop_blob: Any = None,
    **options: Any,
) -> ExecutionStep:
    """A step of steps or nets, one or several."""
    items = steps_or_nets if isinstance(steps_or_nets, list | tuple) else [steps_or_nets]
    step = ExecutionStep(default_name)
    for item in items:
        if isinstance(item, Net):
            step.AddNet(item)
        else:
            step.AddSubstep(to_execution_step(item))
    if num_iter is not None:
        step.SetIter(num_iter)
    if should_stop_blob is not None:
        step.SetShouldStopBlob(should_stop_blob)
    for name in ("concurrent_substeps", "only_once"):
        if options.get(name) is not None:
            setattr(step.Proto(), name, options[name])
    return step


def scoped_execution_step(name: str, *args: Any, **kwargs: Any) -> ExecutionStep:
    """A step named with the scope's prefix."""
    return execution_step(ScopedName(name) if name else name, *args, **kwargs)
