"""caffe2.python.model_helper: a net, the net that initializes its parameters, and the parameters."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from caffe2_mobile.compat.python import core, scope
from caffe2_mobile.compat.python.helpers.db_input import db_input
from caffe2_mobile.compat.python.modeling.parameter_info import ParameterInfo, ParameterTags
from caffe2_mobile.compat.python.modeling.parameter_sharing import parameter_sharing_context
from caffe2_mobile.compat.runtime.known import TRAINING

# Operators that need no care; of others ModelHelper warns.
_known_working_ops = [
    *("Accuracy", "Adam", "Add", "Adagrad", "SparseAdagrad", "Adadelta", "SparseAdadelta", "AveragedLoss", "Cast"),
    *("Checkpoint", "ConstantFill", "Copy", "CopyGPUToCPU", "CopyCPUToGPU", "DequeueBlobs", "EnsureCPUOutput"),
    *("ExpandDims", "Flatten", "FlattenToVec", "LabelCrossEntropy", "LearningRate", "MakeTwoClass", "MatMul"),
    *("NCCLAllreduce", "NHWC2NCHW", "PackSegments", "Print", "PRelu", "ReduceFrontSum", "Scale"),
    *("ScatterWeightedSum", "Sigmoid", "SortedSegmentSum", "Snapshot", "Softmax", "SoftmaxWithLoss"),
    *("SquaredL2Distance", "Squeeze", "StopGradient", "Summarize", "Tanh", "Transpose", "UnpackSegments"),
    *("WeightedSum", "YellowFin"),
]


class ModelHelper:
    """net and param_init_net, with the parameters that layers (see brew) make.

    With init_params=False layers name their parameters and fill nothing: they are in the workspace.
    """

    def __init__(
        self,
        name: str | None = None,
        init_params: bool = True,
        allow_not_known_ops: bool = True,
        skip_sparse_optim: bool = False,
        param_model: "ModelHelper | None" = None,
        arg_scope: Mapping[str, Any] | None = None,
    ):
        self.name = name or "model"
        self.net = core.Net(self.name)
        shared = param_model
        self.param_init_net: core.Net = shared.param_init_net if shared else core.Net(self.name + "_init")
        self.param_to_grad: dict[Any, Any] = shared.param_to_grad if shared else {}
        self.params: list[core.BlobReference] = shared.params if shared else []
        self._parameters_info: dict[str, ParameterInfo] = shared._parameters_info if shared else {}
        self._computed_params: list[core.BlobReference] = shared._computed_params if shared else []
        self.gradient_ops_added = False
        self.init_params = init_params
        self.allow_not_known_ops = allow_not_known_ops
        self.skip_sparse_optim = skip_sparse_optim
        self.weights: list[core.BlobReference] = []
        self.biases: list[core.BlobReference] = []
        self._devices: list[int] = []
        self._arg_scope = {"order": "NCHW", "use_cudnn": True, "cudnn_exhaustive_search": False, **(arg_scope or {})}

    @property
    def arg_scope(self) -> dict[str, Any]:
        return self._arg_scope

    def get_name(self) -> str:
        return self.name

    def Proto(self) -> Any:
        return self.net.Proto()

    def InitProto(self) -> Any:
        return self.param_init_net.Proto()

    def RunAllOnGPU(self, *args: Any, **kwargs: Any) -> None:
        self.param_init_net.RunAllOnGPU(*args, **kwargs)
        self.net.RunAllOnGPU(*args, **kwargs)

    # ------------------------------------------------------------------------------------ parameters

    def create_param(self, param_name: Any, shape: Any, initializer: Any, tags: Any = None) -> core.BlobReference:
        """A parameter of this name, in the scope whose parameters are used here; one there is already is shared."""
        if isinstance(param_name, core.BlobReference):
            name = str(param_name)
        elif isinstance(param_name, str):
            name = parameter_sharing_context.get_parameter_name(param_name)
        else:
            raise TypeError("Unsupported type for param_name")
        if name in self._parameters_info:
            assert self._parameters_info[name].shape == shape
            return self._parameters_info[name].blob
        reference = core.BlobReference(name)
        info = initializer.create_param(param_name=reference, init_net=self.param_init_net, shape=shape)
        self._parameters_info[name] = info
        self.AddParameter(info.blob, tags)
        return info.blob

    def get_param_info(self, param: core.BlobReference) -> ParameterInfo | None:
        assert isinstance(param, core.BlobReference), f"Param {param} is not a BlobReference"
        return self._parameters_info.get(str(param))

    def AddParameter(self, param: core.BlobReference, tags: Any = None) -> None:
        assert isinstance(param, core.BlobReference)
        tags = set(tags) if isinstance(tags, list) else {tags}
        (self._computed_params if ParameterTags.COMPUTED_PARAM in tags else self.params).append(param)
        if ParameterTags.WEIGHT in tags:
            self.weights.append(param)
        if ParameterTags.BIAS in tags:
            self.biases.append(param)

    @staticmethod
    def _NormalizeNamescope(namescope: str | None) -> str:
        if namescope is None:
            return scope.CurrentNameScope()
        separator = scope._NAMESCOPE_SEPARATOR
        return namescope if namescope == "" or namescope.endswith(separator) else namescope + separator

    def GetParams(self, namescope: str | None = None, top_scope: bool = False) -> list[core.BlobReference]:
        """Parameters of a scope, by default the current one."""
        prefix = ModelHelper._NormalizeNamescope(namescope)
        return [param for param in self.params if param.GetNameScope().startswith(prefix)]

    def GetComputedParams(self, namescope: str | None = None) -> list[core.BlobReference]:
        """Parameters that are not trained, such as a normalization's running mean."""
        prefix = ModelHelper._NormalizeNamescope(namescope)
        return [param for param in self._computed_params if param.GetNameScope().startswith(prefix)]

    def GetAllParams(self, namescope: str | None = None) -> list[core.BlobReference]:
        return self.GetParams(namescope) + self.GetComputedParams(namescope)

    def _Validate(self) -> list[str]:
        """Parameters that are there more than once."""
        names = [str(param) for param in self.params]
        return sorted({name for name in names if names.count(name) > 1})

    def Validate(self) -> None:
        """Raises AssertionError for a parameter that is there twice."""
        duplicates = self._Validate()
        assert not duplicates, f"Duplicate params: {duplicates}"

    # -------------------------------------------------------------------------------------- operators

    def CreateDB(self, blob_out: Any, db: str, db_type: str, **kwargs: Any) -> Any:
        return self.param_init_net.CreateDB([], blob_out, db=db, db_type=db_type, **kwargs)

    def TensorProtosDBInput(
        self, unused_blob_in: Any, blob_out: Any, batch_size: int, db: str, db_type: str, **kwargs: Any
    ) -> Any:
        assert len(unused_blob_in) == 0, "Use model.net.TensorProtosDBInput to pass a reader."
        return db_input(self, blob_out, batch_size, db, db_type, **kwargs)

    def AddGradientOperators(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"ModelHelper.AddGradientOperators is not in caffe2-mobile: {TRAINING}")

    def GetOptimizationParamInfo(self, params: Any = None) -> Any:
        raise NotImplementedError(f"ModelHelper.GetOptimizationParamInfo is not in caffe2-mobile: {TRAINING}")

    def GetDevices(self) -> list[int]:
        assert self._devices, "Use data_parallel_model to run model on multiple GPUs."
        return self._devices

    def __getattr__(self, op_type: str) -> Any:
        """What adds an operator without parameters to the net."""
        if op_type.startswith("__"):
            raise AttributeError(op_type)
        if not core.IsOperator(op_type):
            raise core._unknown_operator(op_type)
        if op_type not in _known_working_ops:
            if not self.allow_not_known_ops:
                raise AttributeError(f"Operator {op_type} is not known to be safe")
            logging.warning("You are creating an op that the ModelHelper does not recognize: %s.", op_type)
        return getattr(self.net, op_type)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *self.__dict__, *_known_working_ops})

    # ----------------------------------------------------------------------------------- nets together

    def GetCompleteNet(self) -> core.Net:
        """Both nets as one: first what initializes, then what computes."""
        complete = self.param_init_net.Clone(self.name + "_complete_net", keep_schema=True)
        for op in complete.Proto().op:
            op.debug_info += "/param_init_net"
        complete.AppendNet(self.net)
        if self.net.Proto().HasField("type"):
            complete.Proto().type = self.net.Proto().type
        return complete

    def ConstructInitTrainNetfromNet(self, net: core.Net) -> None:
        """Take both nets from what GetCompleteNet made of them."""
        is_init = [op.debug_info.endswith("/param_init_net") for op in net.Proto().op]

        def part(name: str, wanted: bool) -> core.Net:
            positions = [position for position, init in enumerate(is_init) if init == wanted]
            return net.Clone(f"{net.Name()}/{name}", op_id_mask=positions, update_external_list=True)

        self.param_init_net = part("generated_param_init_net", True)
        self.net = part("generated_net", False)


def ExtractPredictorNet(
    net_proto: Any,
    input_blobs: Iterable[Any],
    output_blobs: Iterable[Any],
    device: Any = None,
    renames: Mapping[str, str] | None = None,
    disabled_inputs: Iterable[str] | None = None,
) -> tuple[core.Net, list[str]]:
    """(the part of a net that computes outputs from inputs, its parameters): no input operators, no gradients.

    disabled_inputs: blobs that are taken as not there, with all that needs them. Raises Exception where no
    operator reads the inputs or writes the outputs, and for operators that are made for training (is_test=0).
    """
    inputs, outputs = {str(blob) for blob in input_blobs}, {str(blob) for blob in output_blobs}
    listed_inputs, listed_outputs = set(net_proto.external_input), set(net_proto.external_output)
    known = (listed_inputs | inputs) - set(disabled_inputs or ())
    readers = [i for i, op in enumerate(net_proto.op) if inputs & set(op.input) and op.type != "StopGradient"]
    writers = [i for i, op in enumerate(net_proto.op) if outputs & set(op.output)]
    if not readers:
        raise Exception(f"No ops with input={inputs}")
    if not writers:
        raise Exception(f"No ops with output={outputs}")
    predict = core.Net(net_proto.name + "_predict")
    proto = predict.Proto()
    external_inputs, external_outputs = set(inputs), set(outputs)
    for op in net_proto.op[min(readers) : max(writers) + 1]:
        if not known.issuperset(op.input):
            logging.debug("Op %s had unknown inputs: %s", op.type, set(op.input) - known)
            continue
        if any(arg.name == "is_test" and arg.i == 0 for arg in op.arg):
            raise Exception(
                "An operator had is_test=0, did you try to extract a predictor from a train model "
                f"(instead of test model)? Op was: {op}"
            )
        added = proto.op.add()
        added.CopyFrom(op)
        if device is not None:
            added.device_option.device_type = device.device_type
            added.device_option.device_id = device.device_id
        known.update(op.output)
        external_inputs |= set(op.input) & listed_inputs
        external_outputs |= set(op.output) & listed_outputs
    proto.external_input.extend(sorted(external_inputs))
    proto.external_output.extend(sorted(external_outputs))
    renamed = dict(renames or {})
    core._remap_net(proto, renamed)
    return predict, sorted(set(proto.external_input) - {renamed.get(name, name) for name in inputs})
