"""Images and nets made on the spot, whose right answers are plain to see."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

COLOURS = {"blue": (20, 30, 220), "green": (30, 210, 40), "red": (230, 20, 30)}


def colour_net(
    path: Path, batch: int | str = "n", size: int | str = 16, rows=((0, 0, 1), (0, 1, 0), (1, 0, 0))
) -> Path:
    """An ONNX net whose outputs are weighted means of the channels: by default blue, green, red."""
    weight = np.array(rows, np.float32).T
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, weight.shape[1]])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path
