#!/usr/bin/env python3
"""Time the exact int8 runtime beside the real Caffe2 and ONNX Runtime, on the twelve published graphs and
MobileNetV2.

All run in turn within each round, so that a busy machine is equally busy for all; a figure is the median of
a runtime's rounds, in ms. Where others work on the machine, --processor-time counts this work only (two threads are
left out), and --fastest takes minima instead of medians. Weights come from a seed: time does not depend on them. Caffe2
takes part where CAFFE2_PYTHON names an interpreter that has it. ONNX Runtime runs the net's QDQ form with its weights
signed, which is the same function and, with its kernels, the faster one; it is not what Caffe2 computes. The exact ONNX
form, in ONNX Runtime too, is. With --instruction-sets the kernels for each of this machine's take turns instead.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Int8Tensor, Net, kernels
from caffe2_models.build import add_operator, make_init
from caffe2_models.lowering import lower_net
from caffe2_models.proto import caffe2_pb2
from caffe2_models.published import NAMES, published_net
from caffe2_models.runtimes.onnx_runtime import open_session
from caffe2_models.runtimes.session import input_types

MOBILENET_V2 = "MobileNetV2-224"
INT8_NAMES = [name for name in NAMES if name.endswith("/int8")]

# (expansion, output channels, repeats, stride) of MobileNetV2's blocks (arXiv:1801.04381, table 2)
BLOCKS = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]

CAFFE2, ONNX_RUNTIME, EXACT_ONNX = "Caffe2", "ONNX Runtime", "exact ONNX"
EXACT, TWO_THREADS = "exact", "exact, 2 threads"

Clock = Callable[[], float]  # seconds
Runners = dict[str, Callable[[], float]]  # of each label: runs the net once, warm, and returns its ms

# What the geometric means must reach: how many times faster the first is than the second, over which nets.
LARGE = 200e6  # multiply-adds
BARS = [
    (EXACT, CAFFE2, 4.0, 0),
    (EXACT, ONNX_RUNTIME, 1.4, 0),
    (EXACT_ONNX, ONNX_RUNTIME, 0.5, 0),
    (TWO_THREADS, EXACT, 1.7, LARGE),
]


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="names, separated by commas (default: all thirteen)")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--fastest", action="store_true", help="minima instead of medians")
    parser.add_argument("--processor-time", action="store_true", help="instead of the time that passes")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is not reached")
    parser.add_argument("--instruction-sets", action="store_true", help="compare the kernels with each other only")
    args = parser.parse_args(argv)
    names = args.models.split(",") if args.models else [*INT8_NAMES, MOBILENET_V2]
    if args.rounds < 1:
        raise ModelError("--rounds must be at least 1")
    figure = min if args.fastest else statistics.median
    make = instruction_set_runners if args.instruction_sets else make_runners
    clock = time.process_time if args.processor_time else time.perf_counter
    rows = [
        measure(name, args.rounds, figure, lambda *case: make(*case, clock)) for name in progress(names, desc="nets")
    ]
    if args.instruction_sets:
        fastest, *others = kernels.instruction_sets()
        print_table(rows, [(fastest, other) for other in others])
        for other in others:
            print(f"{fastest} against {other}: {geometric_mean(rows, fastest, other):.2f} times")
        return 0
    print_table(rows, [(fast, slow) for fast, slow, _, _ in BARS])
    reached = [print_bar(rows, *bar) for bar in BARS]
    return 1 if args.check and not all(reached) else 0


def measure(
    name: str, rounds: int, figure: Callable[[list[float]], float], make: Callable[[Net, dict], Runners]
) -> dict:
    """One row: the net's name, multiply-adds, and the figure of each runtime's ms."""
    net = mobilenet_v2() if name == MOBILENET_V2 else published_net(name)
    shape = net.input_shapes(size=None if name in NAMES else 224)["data"]
    feeds = {"data": np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)}
    runners = make(net, feeds)
    times: dict[str, list[float]] = {label: [] for label in runners}
    for runner in runners.values():
        runner()
    for _ in range(rounds):
        for label, runner in runners.items():
            times[label].append(runner())
    figures = {label: figure(values) for label, values in times.items()}
    return {"name": name, "macs": sum(step.macs for step in net.walk({"data": shape})), **figures}


def make_runners(net: Net, feeds: dict[str, np.ndarray], clock: Clock) -> Runners:
    """Each runtime."""
    in_processor_time = clock is time.process_time
    runners = {}
    if os.environ.get("CAFFE2_PYTHON"):
        caffe2 = net.session("caffe2", threads=1)
        runners[CAFFE2] = (
            (lambda: caffe2.processor_time(feeds))
            if in_processor_time
            else (lambda: caffe2.benchmark(feeds, warmup=1, runs=1)[0])
        )
    for label, in_qdq in ((ONNX_RUNTIME, True), (EXACT_ONNX, False)):
        onnx_session = open_onnx(net, feeds, in_qdq)
        runners[label] = warm(lambda session=onnx_session: session.run(None, feeds), clock)
    for label, threads in ((EXACT, 1), (TWO_THREADS, 2))[: 1 if in_processor_time else 2]:
        session = net.session("exact", threads=threads)
        runners[label] = warm(lambda session=session: session.run(feeds), clock)
    return runners


def instruction_set_runners(net: Net, feeds: dict[str, np.ndarray], clock: Clock) -> Runners:
    """The exact runtime on each instruction set, one thread."""
    runners = {}
    for name in kernels.instruction_sets():
        os.environ[kernels.VARIABLE] = name
        session = net.session("exact", threads=1)
        runners[name] = warm(lambda session=session: session.run(feeds), clock)
    return runners


def warm(call: Callable, clock: Clock) -> Callable[[], float]:
    """A function that times a second call after a first, in ms: what ran before it has filled the caches."""

    def timed() -> float:
        call()
        start = clock()
        call()
        return 1000 * (clock() - start)

    return timed


def open_onnx(net: Net, feeds: dict[str, np.ndarray], in_qdq: bool) -> onnxruntime.InferenceSession:
    """The QDQ form with signed weights, or the exact one."""
    model, _ = lower_net(net, input_types(feeds), net.outputs, qdq=in_qdq)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return open_session((with_signed_weights(model) if in_qdq else model).SerializeToString(), options)


def with_signed_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with each uint8 weight and its zero point less 128, as int8."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in initializers:
            continue
        for position, source in enumerate(node.input):
            tensor = initializers[source]
            if tensor.data_type != onnx.TensorProto.UINT8:  # nor weight nor its zero point
                continue
            values = numpy_helper.to_array(tensor).astype(np.int16) - 128
            name = node.input[position] = f"{node.name}_{position}_signed"
            model.graph.initializer.append(numpy_helper.from_array(values.astype(np.int8), name))
    return model


def mobilenet_v2() -> Net:
    """MobileNetV2 1.0 in int8, with the published graphs' operators and weights from a seed."""
    rng = np.random.default_rng(0)
    predict = caffe2_pb2.NetDef(name=MOBILENET_V2, external_input=["data"], external_output=["prob"])
    parameters: dict[str, Int8Tensor] = {}
    scales = {"image": 0.0187}

    def layer(kind, x, y, shape, scale, zero_point, **arguments):
        """Weights over all of uint8, at a scale at which the outputs fill their range."""
        weight = np.clip(rng.normal(125, 40, shape).round(), 0, 255).astype(np.uint8)
        w_scale = scale * 1.6 / (scales[x] * np.sqrt(np.prod(shape[1:])) * 40)
        bias = rng.integers(-500, 500, shape[0]).astype(np.int32)
        parameters[f"{y}_w"] = Int8Tensor(weight, float(np.float32(w_scale)), 125)
        parameters[f"{y}_b"] = Int8Tensor(bias, float(np.float32(scales[x] * w_scale)), 0)
        quantized = dict(Y_scale=scale, Y_zero_point=zero_point)
        add_operator(predict, kind, [x, f"{y}_w", f"{y}_b"], [y], **quantized, **arguments)
        scales[y] = scale

    def convolution(x, y, shape, relu=True, **arguments):
        kind, scale, zero_point = ("Int8ConvRelu", 0.0235, 0) if relu else ("Int8Conv", 0.05, 125)
        window = dict(kernel=shape[1], pad=shape[1] // 2, order="NHWC")
        layer(kind, x, y, shape, scale, zero_point, **window, **arguments)

    add_operator(predict, "NCHW2NHWC", ["data"], ["nhwc"])
    add_operator(predict, "Int8Quantize", ["nhwc"], ["image"], Y_scale=scales["image"], Y_zero_point=114)
    convolution("image", "stem", (32, 3, 3, 3), stride=2)
    blob, channels = "stem", 32
    for stage, (expansion, out_channels, repeats, first_stride) in enumerate(BLOCKS):
        for i in range(repeats):
            name, x, wide = f"block{stage}_{i}", blob, channels * expansion
            if expansion > 1:
                convolution(blob, f"{name}_expand", (wide, 1, 1, channels))
                blob = f"{name}_expand"
            stride = first_stride if i == 0 else 1
            convolution(blob, f"{name}_depthwise", (wide, 3, 3, 1), group=wide, stride=stride)
            convolution(f"{name}_depthwise", f"{name}_project", (out_channels, 1, 1, wide), relu=False)
            blob = f"{name}_project"
            if i > 0:
                quantized = dict(Y_scale=0.06, Y_zero_point=125)
                add_operator(predict, "Int8Sum", [blob, x], [f"{name}_sum"], **quantized)
                blob = f"{name}_sum"
                scales[blob] = 0.06
            channels = out_channels
    convolution(blob, "head", (1280, 1, 1, 320))
    pool = dict(global_pooling=1, order="NHWC", Y_scale=0.0235, Y_zero_point=0)
    add_operator(predict, "Int8AveragePool", ["head"], ["pooled"], **pool)
    scales["pooled"] = 0.0235
    layer("Int8FC", "pooled", "scores", (1000, 1280), 0.1, 100)
    add_operator(predict, "Int8Softmax", ["scores"], ["int8_prob"], Y_scale=1 / 256, Y_zero_point=0)
    add_operator(predict, "Int8Dequantize", ["int8_prob"], ["prob"])
    predict.external_input.extend(parameters)
    return Net(predict, make_init(parameters))


def print_table(rows: list[dict], ratios: list[tuple[str, str]]) -> None:
    """Markdown: a net's times in ms, and for each pair of labels how many times faster the first is."""
    labels = [label for label in rows[0] if label not in ("name", "macs")]
    ratios = [(fast, slow) for fast, slow in ratios if {fast, slow} <= set(labels)]
    titles = ["net", "M MAdds", *(f"{label}, ms" for label in labels)]
    titles += [f"{slow} / {fast}" for fast, slow in ratios]
    print(f"| {' | '.join(titles)} |\n|---{'|---:' * (len(titles) - 1)}|")
    for row in rows:
        cells = [row["name"], f"{row['macs'] / 1e6:.0f}", *(f"{row[label]:.2f}" for label in labels)]
        cells += [f"{row[slow] / row[fast]:.2f}" for fast, slow in ratios]
        print(f"| {' | '.join(cells)} |")


def geometric_mean(rows: list[dict], fast: str, slow: str) -> float:
    """How many times faster the first is than the second."""
    return statistics.geometric_mean(row[slow] / row[fast] for row in rows)


def print_bar(rows: list[dict], fast: str, slow: str, bar: float, least_macs: float) -> bool:
    """One line on a geometric mean; whether it reaches its bar (or cannot be taken)."""
    counted = [row for row in rows if {fast, slow} <= row.keys() and row["macs"] > least_macs]
    over = f"the nets above {least_macs / 1e6:.0f} M multiply-adds" if least_macs else "all nets"
    if not counted:
        print(f"{fast} against {slow}, over {over}: not measured")
        return True
    mean = geometric_mean(counted, fast, slow)
    verdict = "reached" if mean >= bar else "NOT reached"
    print(f"{fast} against {slow}, geometric mean over {over}: {mean:.2f} times (bar {bar}: {verdict})")
    return mean >= bar


if __name__ == "__main__":
    run(main)
