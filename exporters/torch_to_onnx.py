"""PyTorch to ONNX: any module, by either of torch's exporters. Nothing else here imports torch or the zoo."""

import contextlib
import functools
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Container, Sequence

import numpy as np
import onnx
import torch
from torch import nn

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from exporters.batch_norm import fold_batch_norms
from exporters.onnx_files import load_onnx, set_onnx_preprocessing
from exporters.verification import Comparison, Sample, compare, run_onnx
from mobile_cv.model_zoo import create_model

EXPORTERS = ("auto", "torchscript", "dynamo")
OLDEST_OPSET, DEFAULT_OPSET = 9, 17
TORCHSCRIPT_NEWEST = 20  # torch.onnx's own limits
DYNAMO_OLDEST, DYNAMO_NEWEST = 18, 23
INPUT, OUTPUT = "data", "output"


def create_module(name: str, **options) -> nn.Module:
    """A model of the zoo in eval mode, seeded; options as of create_model. Raises ModelError."""
    torch.manual_seed(0)
    return create_model(name, **options).eval()


def randomize_statistics(module: nn.Module, samples: Sequence[Sample], seed: int = 0) -> None:
    """Give every BatchNorm a random scale and shift and, as training would, the samples' mean and variance.

    Those of a new model are 1, 0, 0 and 1, with which folding it wrongly would hardly show, and activations
    grow or vanish from layer to layer.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [layer for layer in module.eval().modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    batch = torch.cat([torch.from_numpy(array) for sample in samples for array in sample.feeds.values()])
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.8, 1.2, generator=generator)
            norm.bias.normal_(0, 0.1, generator=generator)
            norm.momentum = 1.0
            norm.train()
        module(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def export(
    module: nn.Module,
    shape: Sequence[int] = (1, 3, 224, 224),
    *,
    opset: int | None = None,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    exporter: str = "auto",
    keep_init: bool = False,
    preprocessing: Preprocessing | None = None,
    name: str = "",
) -> onnx.ModelProto:
    """An ONNX model of a module in eval mode, which maps one float32 input (NCHW) to one output.

    shape: the input's; dynamic_batch and dynamic_size leave its first and its last two dimensions free.
    opset: 17 where it is not given, 18 for "dynamo", which begins there; opsets beyond an exporter's newest
    are reached by onnx's version converter. exporter: "torchscript", "dynamo" (torch.export) or "auto", the
    first of them that works. keep_init lists the weights among the graph's inputs too, as some old tools
    want. Raises ModelError where torch cannot export the module.
    """
    if opset is None:
        opset = DYNAMO_OLDEST if exporter == "dynamo" else DEFAULT_OPSET
    if not OLDEST_OPSET <= opset <= newest_opset():
        raise ModelError(f"opset {opset}: choose from {OLDEST_OPSET} to {newest_opset()}, which ONNX Runtime here runs")
    if exporter not in EXPORTERS:
        raise ModelError(f"exporter {exporter!r} is none of {', '.join(EXPORTERS)}")
    free = ([0] if dynamic_batch else []) + ([2, 3] if dynamic_size else [])
    failures = []
    for way in ("torchscript", "dynamo") if exporter == "auto" else (exporter,):
        try:
            model = _EXPORTERS[way](module.eval(), tuple(shape), opset, free)
            break
        except Exception as error:  # torch raises whatever the module or its own passes raise
            failures.append(f"{way}: {_first_line(error)}")
    else:
        raise ModelError(f"torch cannot export the model at opset {opset} ({'; '.join(failures)})")
    model.graph.name = name or type(module).__name__
    _name_free_dimensions(model.graph, free)
    if keep_init:
        model.graph.input.extend(_as_input(tensor) for tensor in model.graph.initializer)
    if preprocessing is not None:
        set_onnx_preprocessing(model, preprocessing)
    return model


def verify(module: nn.Module, model, samples: Sequence[Sample]) -> list[Comparison]:
    """Compare an ONNX model (or file) in ONNX Runtime with the module it came from, on each sample."""
    outputs = zip(samples, run(module, samples), run_onnx(model, samples), strict=True)
    return [compare("ONNX Runtime against PyTorch", *triple) for triple in outputs]


def run(module: nn.Module, samples: Sequence[Sample]) -> list[dict[str, np.ndarray]]:
    """The module's output for each sample, under the name that it has in exports."""
    with torch.inference_mode():
        outputs = [module(*map(torch.from_numpy, sample.feeds.values())) for sample in samples]
    return [{OUTPUT: output.numpy()} for output in outputs]


@functools.cache
def newest_opset() -> int:
    """The newest opset that both onnx and ONNX Runtime here know."""
    import onnxruntime

    from caffe2_models.runtimes.onnx_runtime import open_session

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    info = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
    ends = [info("x", onnx.TensorProto.FLOAT, [1])], [info("y", onnx.TensorProto.FLOAT, [1])]
    for version in range(onnx.defs.onnx_opset_version(), OLDEST_OPSET, -1):
        graph = onnx.helper.make_graph(nodes, "probe", *ends)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)], ir_version=8)
        try:
            open_session(model.SerializeToString(), options)
        except Exception:
            continue
        return version
    return OLDEST_OPSET


def _by_torchscript(module, shape, opset: int, free: list[int]) -> onnx.ModelProto:
    """Only the graph is torch's; the weights are added here, which torch would copy five times."""
    axes = {INPUT: list(free), OUTPUT: [0]} if 0 in free else {INPUT: list(free)}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = os.path.join(folder, "model.onnx")
        torch.onnx.export(
            module,
            (torch.zeros(shape),),
            path,
            dynamo=False,
            export_params=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # "EVAL" folds BatchNorm, into weights that are lost here,
            do_constant_folding=False,  # and so does this with what is computed from weights
            opset_version=min(opset, TORCHSCRIPT_NEWEST),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=axes if free else None,
        )
        model = _to_opset(load_onnx(path), opset)
    weights = {name: tensor.numpy(force=True) for name, tensor in module.state_dict().items()}
    if lost := [value.name for value in model.graph.input if value.name not in (INPUT, *weights)]:
        raise ModelError(f"weights that the module's state_dict does not have: {', '.join(lost)}")
    _drop_identities_of_weights(model.graph, weights)
    fold_batch_norms(model.graph, weights)
    _move_weights(weights, model.graph)
    return model


def _by_dynamo(module, shape, opset: int, free: list[int]) -> onnx.ModelProto:
    if opset < DYNAMO_OLDEST:
        raise ModelError(f"begins at opset {DYNAMO_OLDEST}")
    names = {0: "batch", 2: "height", 3: "width"}
    example = torch.zeros((max(2, shape[0]), *shape[1:]) if 0 in free else shape)  # torch.export fixes sizes of 1
    with _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=min(opset, DYNAMO_NEWEST),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({axis: torch.export.Dim(names[axis]) for axis in free},) if free else None,
            verbose=False,
        )
    return _to_opset(program.model_proto, opset)


_EXPORTERS = {"torchscript": _by_torchscript, "dynamo": _by_dynamo}


@contextlib.contextmanager
def _quiet():
    """Without torch's warnings, and the graphs that its C++ side prints; what matters is raised."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _to_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    have = next(entry.version for entry in model.opset_import if entry.domain == "")
    return model if have == opset else onnx.version_converter.convert_version(model, opset)


def _drop_identities_of_weights(graph: onnx.GraphProto, weights: Container[str]) -> None:
    """TorchScript's exporter shares equal weights through Identity nodes; let readers read the weight."""
    same = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity" and node.input[0] in weights
    }
    kept = [node for node in graph.node if not (node.op_type == "Identity" and node.output[0] in same)]
    for node in kept:
        node.input[:] = [same.get(name, name) for name in node.input]
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)


def _move_weights(weights: dict[str, np.ndarray], graph: onnx.GraphProto) -> None:
    """Make initializers of the weights that are read; the graph's inputs are its data only."""
    read = dict.fromkeys(name for node in graph.node for name in node.input if name in weights)
    data = [value for value in graph.input if value.name == INPUT]
    del graph.input[:]
    graph.input.extend(data)
    for name in read:
        weight = weights.pop(name)
        data_type = onnx.helper.np_dtype_to_tensor_dtype(weight.dtype)
        tensor = graph.initializer.add(name=name, data_type=data_type, dims=weight.shape)
        tensor.raw_data = weight.tobytes()  # in place: no second copy


def _name_free_dimensions(graph: onnx.GraphProto, free: list[int]) -> None:
    names = {0: "batch", 2: "height", 3: "width"}
    for value in graph.input:
        for axis in free:
            value.type.tensor_type.shape.dim[axis].dim_param = names[axis]
    for value in graph.output if 0 in free else ():
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _as_input(tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def count_parameters(module: nn.Module) -> int:
    return sum(int(np.prod(parameter.shape)) for parameter in module.parameters())
