"""The models of conversion_cases.txt."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from caffe2_models.runtimes.onnx_runtime import open_session

# ONNX Runtime up to 1.23 divides border windows by the wrong count (ceil_mode with count_include_pad), and computes
# in the place of an input that is an output as well.
is_old_onnxruntime = tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24)

HEAD = re.compile(r"^(\w+) \((\d+)\): (.*)$")


@dataclass(frozen=True)
class Case:
    """One model: opset, the Caffe2 operators it becomes, its inputs and nodes in ONNX's text form."""

    opset: int
    operators: list[str]
    inputs: str
    nodes: str


def read_cases() -> dict[str, Case]:
    text = (Path(__file__).parent / "conversion_cases.txt").read_text()
    cases = {}
    for paragraph in re.split(r"\n\n+", text):
        head, *lines = [line for line in paragraph.splitlines() if not line.startswith("#")] or [""]
        if match := HEAD.match(head):
            first_node = next(i for i, line in enumerate(lines) if " = " in line)
            inputs, nodes = " ".join(lines[:first_node]), " ".join(lines[first_node:])
            cases[match[1]] = Case(int(match[2]), match[3].split(), inputs, nodes)
    return cases


CASES = read_cases()
if is_old_onnxruntime:
    del CASES["average_pool_ceil_counting"]


def build(case: Case) -> onnx.ModelProto:
    """The case's model, its weights seeded: positive, so that they may be variances too."""
    head = f'<ir_version: 8, opset_import: ["": {case.opset}]>'
    text = f"{head} net ({case.inputs}) => (float y) {{ {case.nodes} }}"
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(len(text))
    for value in list(model.graph.input):
        if not value.name.startswith("x"):
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            content = rng.uniform(0.25, 1, shape).astype(dtype)
            model.graph.initializer.append(onnx.numpy_helper.from_array(content, value.name))
            model.graph.input.remove(value)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def feeds(model: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Normal noise for the inputs, the free dimensions at these sizes."""
    rng = np.random.default_rng(7)
    return {
        value.name: rng.standard_normal(
            [dim.dim_value or sizes[dim.dim_param] for dim in value.type.tensor_type.shape.dim], np.float32
        )
        for value in model.graph.input
    }


def run_onnx(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The model's first output by ONNX Runtime."""
    return run_all(model, inputs)[0]


def run_all(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The model's outputs by ONNX Runtime, node by node: its own rewrites are not what is tested."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = open_session(model.SerializeToString(), options)
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        if "is under development" not in str(error):
            raise
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} does not know the model's opset yet")
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
        if not is_old_onnxruntime:
            raise
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__}: {error}")
    return session.run(None, inputs)
