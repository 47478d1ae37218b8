"""The twelve architectures published as Caffe2 nets (ChamNet-A..F, FBNet-A..C, -B1, -C1, -96), int8 and fp32.

The graphs are the official ones, operator by operator, with their quantization parameters. The weights are
not here: `published_net` fills them from a seed at a plausible scale, enough for shapes, latency and
timing. One JSON file per graph: operators are [type, inputs, outputs, arguments, engine], parameters name
-> shape.
"""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_models.build import add_fill, add_operator
from caffe2_models.net import Net
from caffe2_models.preprocessing import set_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Int8Tensor

FOLDER = Path(__file__).parent
FAMILIES = {"ChamNet": "ABCDEF", "FBNet": ("96", "A", "B", "B1", "C", "C1")}
FORMS = ("int8", "fp32")
INT8_LAYERS = {"Int8Conv", "Int8ConvRelu", "Int8FC"}
NAMES = tuple(f"{family}-{member}/{form}" for family in FAMILIES for member in FAMILIES[family] for form in FORMS)

# Blue first, after division by 255: what the nets were trained with.
BGR_MEAN, BGR_STD = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)

UNIFORM_UINT8_DEVIATION = 255 / math.sqrt(12)  # standard deviation of uniformly drawn bytes


@dataclass(frozen=True)
class Publication:
    """What was published with a graph: latency on a Samsung S8 (ms), ImageNet top-1 (percent), input size."""

    name: str
    size: int
    latency_ms: float
    top1: float


def canonical_name(name: str) -> str | None:
    """The name in NAMES that a name or an official path (ChamNet/models/ChamNet-A/int8) means, or None."""
    short = "/".join(Path(name).parts[-2:])
    return short if short in NAMES else None


def publication(name: str) -> Publication:
    """Raises ModelError for a name that was not published."""
    graph = _read(name)
    return Publication(name, graph["size"], graph["latency_ms"], graph["top1"])


def published_net(name: str, seed: int = 0) -> Net:
    """A published graph as a net that runs, with weights from a seed; `name` as in NAMES.

    Raises ModelError for a name that was not published.
    """
    graph = _read(name)
    predict = _predict_net(graph)
    set_preprocessing(predict, Preprocessing(size=graph["size"], mean=BGR_MEAN, std=BGR_STD, channel_order="BGR"))
    return Net(predict, _init_net(graph, np.random.default_rng(seed)))


@functools.cache
def _read(name: str) -> dict:
    if name not in NAMES:
        raise ModelError(f"{name}: no published model; there are {', '.join(NAMES)}")
    return json.loads((FOLDER / f"{name.replace('/', '-')}.json").read_text(encoding="utf-8"))


def _predict_net(graph: dict) -> caffe2_pb2.NetDef:
    net = caffe2_pb2.NetDef(name=graph["name"], external_input=["data", *graph["parameters"]])
    net.external_output.extend(graph["outputs"])
    for kind, inputs, outputs, arguments, *engine in graph["operators"]:
        add_operator(net, kind, inputs, outputs, **arguments).engine = "".join(engine)
    return net


def _init_net(graph: dict, rng: np.random.Generator) -> caffe2_pb2.NetDef:
    """Fills for all parameters: bytes and zero biases for int8, Caffe2's own MSRAFill and zeros for fp32."""
    init = caffe2_pb2.NetDef(name=f"{graph['name']}_init")
    left = dict(graph["parameters"])
    scales: dict[str, float] = {}  # of each quantized activation
    for kind, inputs, outputs, arguments, *_ in graph["operators"]:
        scales[outputs[0]] = arguments.get("Y_scale", scales.get(inputs[0]))
        shapes = {name: left.pop(name) for name in inputs if name in left}
        if kind in INT8_LAYERS:
            _fill_int8_layer(init, shapes, scales[inputs[0]], scales[outputs[0]], rng)
        else:
            for name, shape in shapes.items():
                add_operator(init, "MSRAFill" if len(shape) > 1 else "ConstantFill", [], [name], shape=shape)
    return init


def _fill_int8_layer(init, shapes: dict, input_scale: float, output_scale: float, rng) -> None:
    """Weight and bias; the weight's scale keeps the output within its published range."""
    (weight, weight_shape), (bias, bias_shape) = shapes.items()
    fan_in = math.prod(weight_shape[1:])
    scale = 1.6 * output_scale / (input_scale * math.sqrt(fan_in) * UNIFORM_UINT8_DEVIATION)
    content = np.frombuffer(rng.bytes(math.prod(weight_shape)), np.uint8).reshape(weight_shape)
    add_fill(init, weight, Int8Tensor(content, scale, 128))
    add_fill(init, bias, Int8Tensor(np.zeros(bias_shape, np.int32), scale * input_scale, 0))
