"""ONNX's own node tests, through conversion and the runtime: what passes, what is refused, what would be wrong."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from caffe2_common.errors import ModelError, UnsupportedError
from exporters.onnx_to_caffe2 import convert

# Of ONNX's tolerances, those that float32 sums in another order need; half precision is computed in float32 here.
RTOL, ATOL = 1e-3, 1e-5
COARSE = {onnx.TensorProto.BFLOAT16: 2.0**-8}

# Operators whose further float inputs (scales, values of a one-hot row, weights) are constants in every model.
WITH_CONSTANTS = {"Resize", "Upsample", "OneHot", "LSTM", "GRU", "RNN", "Pad"}

OUTCOMES = ("passed", "refused", "wrong")


@dataclass(frozen=True)
class Outcome:
    """Of one test: one of OUTCOMES, and why (one line) where it did not pass."""

    name: str
    operator: str
    outcome: str
    reason: str = ""


def node_tests() -> list[Any]:
    """ONNX's node tests (onnx.backend.test) that have a float32 input."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tests = load_model_tests(kind="node")
    return [test for test in tests if test.model is not None and any(map(_is_float, test.model.graph.input))]


def run_tests(tests: Iterable[Any], backend: str = "reference") -> Iterator[Outcome]:
    """The outcome of each test. Whatever conversion raises but for its own errors is raised: it is a bug."""
    for test in tests:
        operator = test.model.graph.node[0].op_type
        try:
            reason = _difference(test, backend)
        except (UnsupportedError, ModelError) as error:
            yield Outcome(test.name, operator, "refused", str(error))
        else:
            yield Outcome(test.name, operator, "wrong" if reason else "passed", reason)


def _difference(test: Any, backend: str) -> str:
    """What differs from what ONNX says that the outputs are, or nothing."""
    inputs, outputs = test.data_sets[0]
    model = _with_constants(test.model, inputs)
    values = {info.name: value for info, value in zip(test.model.graph.input, inputs, strict=True)}
    net = convert(model)
    feeds = {name: _array(values[name]) for name in net.inputs}
    feeds = {name: x.astype(np.float32) if x.dtype.name in ("float16", "float64") else x for name, x in feeds.items()}
    results = net.session(backend).run(feeds)
    for info, value in zip(model.graph.output, outputs, strict=True):
        want, have = _array(value), np.asarray(results[info.name])
        if have.shape != want.shape:
            return f"{info.name} has the shape {list(have.shape)}, not {list(want.shape)}"
        rtol = COARSE.get(info.type.tensor_type.elem_type, max(test.rtol, RTOL))
        real, wanted = (x.astype(np.float64) for x in (have, want))
        if not np.allclose(real, wanted, rtol=rtol, atol=max(test.atol, ATOL), equal_nan=True):
            return f"{info.name} is off by {np.nanmax(np.abs(real - wanted), initial=0):.3g}"
    return ""


def _with_constants(model: onnx.ModelProto, inputs: list[Any]) -> onnx.ModelProto:
    """The model with all that is not float as initializers: shapes, axes, places are so in models, not fed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    fed = [info for index, info in enumerate(copy.graph.input) if _is_float(info) and not _is_parameter(model, index)]
    for info, value in zip(copy.graph.input, inputs, strict=True):
        if info not in fed and not isinstance(value, list):
            tensor = copy.graph.initializer.add()
            tensor.CopyFrom(value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(_array(value)))
            tensor.name = info.name
    filled = {tensor.name for tensor in copy.graph.initializer}
    kept = [info for info in copy.graph.input if info.name not in filled]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return copy


def _is_parameter(model: onnx.ModelProto, index: int) -> bool:
    return index > 0 and model.graph.node[0].op_type in WITH_CONSTANTS


def _is_float(info: onnx.ValueInfoProto) -> bool:
    return info.type.HasField("tensor_type") and info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def _array(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
