"""Images and nets made on the spot, whose right answers are plain to see."""

import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

COLOURS = {"blue": (20, 30, 220), "green": (30, 210, 40), "red": (230, 20, 30)}


def encode(pixels: np.ndarray, kind: str = "JPEG", mode: str | None = None, **options) -> bytes:
    image = Image.fromarray(pixels)
    content = io.BytesIO()
    (image.convert(mode) if mode else image).save(content, kind, **options)
    return content.getvalue()


def noise(width: int, height: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """uint8 [height, width(, channels)], smooth enough for JPEG."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, channels), np.uint8)
    image = Image.fromarray(coarse.squeeze() if channels == 1 else coarse)
    return np.asarray(image.resize((width, height)))


def write_coloured(folder: Path) -> Path:
    """A folder blue/, green/, red/ of four images each, of which red/3.jpg is blue."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for k in range(4):
            shown = COLOURS["blue"] if (name, k) == ("red", 3) else colour
            pixels = np.tile(np.array(shown, np.uint8), (40 + k, 50, 1))
            (folder / name / f"{k}.jpg").write_bytes(encode(pixels))
    return folder


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
