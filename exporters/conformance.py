"""ONNX's own node tests, through conversion and the runtime: what passes, what is refused, what would be wrong."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models import Int8Tensor
from exporters.caffe2_to_onnx import to_onnx
from exporters.onnx_to_caffe2 import convert
from exporters.verification import Sample, run_net, run_onnx

# Of ONNX's tolerances, those that float32 sums in another order need; half precision is computed in float32 here.
RTOL, ATOL = 1e-3, 1e-5
COARSE = {onnx.TensorProto.BFLOAT16: 2.0**-8}

# Operators whose further inputs (scales, values of a one-hot row, weights) are constants in every model.
WITH_CONSTANTS = {
    *("Resize", "Upsample", "OneHot", "LSTM", "GRU", "RNN", "Pad", "ConvTranspose", "DeformConv", "Dropout", "STFT"),
    *("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "NonMaxSuppression"),
}
ALL_CONSTANT = {"MelWeightMatrix", "ConstantOfShape"}  # filters and shapes

OUTCOMES = ("passed", "refused", "wrong", "crashed")


@dataclass(frozen=True)
class Outcome:
    """Of one test: one of OUTCOMES, and why (one line) where it did not pass. is_float: it has a float32 input."""

    name: str
    operator: str
    is_float: bool
    outcome: str
    reason: str = ""


def node_tests() -> list[Any]:
    """ONNX's node tests (onnx.backend.test)."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return [test for test in load_model_tests(kind="node") if test.model is not None]


def run_tests(tests: Iterable[Any], backends: Sequence[str] = ("reference",)) -> Iterator[Outcome]:
    """The outcome of each test by all backends, and back in ONNX by ONNX Runtime."""
    for test in tests:
        operator, is_float = test.model.graph.node[0].op_type, any(map(_is_float, test.model.graph.input))
        try:
            with np.errstate(all="ignore"):
                reason = _difference(test, backends)
        except (UnsupportedError, ModelError) as error:
            yield Outcome(test.name, operator, is_float, "refused", str(error))
        except Exception as error:  # whatever else is raised is a bug
            yield Outcome(test.name, operator, is_float, "crashed", f"{type(error).__name__}: {error}")
        else:
            yield Outcome(test.name, operator, is_float, "wrong" if reason else "passed", reason)


def _difference(test: Any, backends: Sequence[str]) -> str:
    """What differs from what ONNX says that the outputs are, or nothing."""
    inputs, outputs = test.data_sets[0]
    model = _with_constants(test.model, inputs)
    net = convert(model)
    values = {info.name: value for info, value in zip(test.model.graph.input, inputs, strict=True)}
    feeds = {name: _feed(values[name]) for name in net.inputs}
    wanted = {info.name: (info, value) for info, value in zip(model.graph.output, outputs, strict=True)}
    for backend in backends:
        try:
            results = run_net(net, [Sample(test.name, feeds)], backend)[0]
        except ModelError as error:
            return f"{backend} does not run it: {error}"
        if reason := _first_difference(test, wanted, results):
            return f"by {backend} {reason}"
    try:
        back = to_onnx(net, {name: value.shape for name, value in feeds.items()})
        results = run_onnx(back, [Sample(test.name, feeds)])[0]
    except ModelError as error:
        return f"does not come back to ONNX: {error}"
    reason = _first_difference(test, wanted, results)
    return reason and f"back in ONNX {reason}"


def _first_difference(test: Any, wanted: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    for name, (info, value) in wanted.items():
        result, want = results[name], _array(value)
        have = result.data if isinstance(result, Int8Tensor) else np.asarray(result)
        if have.shape != want.shape:
            return f"{name} has the shape {list(have.shape)}, not {list(want.shape)}"
        real, exact = (x.astype(np.float64) for x in (have, want))
        step = COARSE.get(
            info.type.tensor_type.elem_type, 0
        )  # what all is rounded to on the way, relative to the largest
        finite = np.abs(exact, where=np.isfinite(exact), out=np.zeros(exact.shape))
        rtol, atol = max(test.rtol, RTOL, step), max(test.atol, ATOL, step * finite.max(initial=0))
        if not np.allclose(real, exact, rtol=rtol, atol=atol, equal_nan=True):
            return f"{name} is off by {np.nanmax(np.abs(real - exact), initial=0):.3g}"
    return ""


def _with_constants(model: onnx.ModelProto, inputs: list[Any]) -> onnx.ModelProto:
    """The model with all that is not float as initializers: shapes, axes, places are so in models, not fed.

    Where nothing is float, the first input is fed all the same.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    fed = [info for index, info in enumerate(copy.graph.input) if _is_float(info) and not _is_parameter(model, index)]
    if not fed and model.graph.node[0].op_type not in ALL_CONSTANT:
        fed = list(copy.graph.input[:1])
    for info, value in zip(copy.graph.input, inputs, strict=True):
        if info not in fed and value is not None and not isinstance(value, list):
            tensor = copy.graph.initializer.add()
            tensor.CopyFrom(value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(_array(value)))
            tensor.name = info.name
    filled = {tensor.name for tensor in copy.graph.initializer}
    kept = [info for info in copy.graph.input if info.name not in filled]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return copy


def _is_parameter(model: onnx.ModelProto, index: int) -> bool:
    operator = model.graph.node[0].op_type
    return operator in ALL_CONSTANT or (index > 0 and operator in WITH_CONSTANTS)


def _is_float(info: onnx.ValueInfoProto) -> bool:
    return info.type.HasField("tensor_type") and info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def _feed(value: Any) -> np.ndarray:
    """In the types that nets take: every float is float32."""
    x = _array(value)
    return x.astype(np.float32) if x.dtype.name in ("float16", "bfloat16", "float64") else x


def _array(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
