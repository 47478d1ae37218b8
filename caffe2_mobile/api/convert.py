"""ONNX and TensorFlow Lite to Caffe2."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnx

from caffe2_common.sizes import Dims, Size
from caffe2_mobile.api.comparisons import Verified
from caffe2_mobile.api.options import require_positive
from caffe2_mobile.api.quantize import estimated_latency
from caffe2_models import Net
from caffe2_models.preprocessing import get_preprocessing
from exporters import onnx_to_caffe2
from exporters.int8.report import Latency
from exporters.onnx_files import input_dtypes, load_onnx
from exporters.quantized_onnx import QuantizedConversion, convert_quantized, is_quantized, is_quantized_anew
from exporters.quantized_onnx.comparison import LEAST_SNR, SAME_STEPS_SNR, Agreement, compare_answers
from exporters.quantized_onnx.qdq import QUANTIZED_TYPES, to_qdq, without_quantization
from exporters.verification import Sample, input_shapes, judges, make_samples, run_onnx, verify_answers, verify_net

Run = Callable[[Sequence[Sample]], Sequence[Mapping[str, np.ndarray]]]

DRAWN_SAMPLES = 8  # of each kind, on which an int8 net answers


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How to convert.

    img_size: height and width in pixels (N or (H, W)), where the ONNX file leaves them free; shapes: of inputs by
    name, where it leaves any dimension free (None: it stays free). keep_quantization: whether a model that is quantized
    already becomes an int8 net at its own scales, or the float net of its weights.
    """

    img_size: Size | None = None
    shapes: Mapping[str, Dims] = field(default_factory=dict)
    keep_quantization: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "img_size")


@dataclass(frozen=True, kw_only=True)
class ConvertResult(Verified):
    """A Caffe2 net, and how near it computes what the model computes that it came from.

    quantized, agreements: of a model that was quantized already: what its int8 net has otherwise, and how it answers
    (agreements of one too whose scales are computed while it runs). latencies: of an int8 net with layers in parts,
    and of that with these whole.
    """

    net: Net = field(repr=False)
    quantized: QuantizedConversion | None = None
    latencies: tuple[Latency, ...] = ()
    agreements: tuple[Agreement, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether float outputs are close, and int8 ones are those of the same function."""
        return super().holds and all(agreement.holds for agreement in self.agreements)

    def __str__(self) -> str:
        counts = Counter(node.type for node in self.net.operators)
        listed = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        size = sum(kind.nbytes for kind in self.net.parameter_types.values())
        described = f"{len(self.net.operators)} operators ({listed}), {size / 1e6:.1f} MB of parameters"
        quantized = [str(self.quantized)] if self.quantized is not None else []
        if self.latencies:
            quantized.append(f"latency: {self.latencies[0]}; {self.latencies[1].ms:.1f} ms with these layers whole")
        return "\n".join([described, *quantized, *self.comparison_lines(), *self._agreement_lines()])

    def save(self, prefix: str | os.PathLike[str]) -> None:
        """Write PREFIX.init.pb and PREFIX.predict.pb."""
        self.net.save(prefix)

    def _agreement_lines(self) -> list[str]:
        lines = [str(agreement) for agreement in self.agreements]
        if self.quantized is not None and not all(agreement.holds for agreement in self.agreements):
            lines.append("its weights need a scale for each channel: quantize anew, --int8 --calibration-data DIR")
        return lines


def convert(source: str | os.PathLike[str] | onnx.ModelProto, options: ConvertOptions | None = None) -> ConvertResult:
    """The Caffe2 net of an ONNX model or a .tflite file, compared with it on random and on image-like input.

    A model that is quantized already (QDQ, QLinear, uint8 or int8 .tflite) becomes an int8 net, without a calibration.
    The net's operators are computed by this package's own definition of them, and by the real Caffe2 too where
    CAFFE2_PYTHON names it. Raises ModelError for a file that is neither, and UnsupportedError, with all of them,
    for operators that Caffe2 has no form of.
    """
    options = options or ConvertOptions()
    if not isinstance(source, onnx.ModelProto) and os.fspath(source).endswith(".tflite"):
        return _convert_tflite(source, options)
    model = source if isinstance(source, onnx.ModelProto) else load_onnx(source)
    if not is_quantized(model):
        return _convert_float(model, source, options)
    if not options.keep_quantization:
        model = without_quantization(model)
        return _convert_float(model, model, options)
    runnable = to_qdq(model) if _takes_bytes(model) else model
    return _convert_quantized(model, options, "ONNX Runtime", lambda samples: run_onnx(runnable, samples))


def _convert_float(
    model: onnx.ModelProto, source: str | os.PathLike[str] | onnx.ModelProto, options: ConvertOptions
) -> ConvertResult:
    net = onnx_to_caffe2.convert(model, options.img_size, options.shapes)
    if is_quantized_anew(model):
        agreements = _agreements(net, model, options, judges(), "ONNX Runtime", partial(run_onnx, source))
        return ConvertResult(net=net, comparisons=(), agreements=agreements)
    samples = _samples(net, model, options)
    del model  # a file is read once more, by ONNX Runtime, so that large weights are in memory once
    return ConvertResult(net=net, comparisons=tuple(verify_net(net, source, samples)))


def _convert_quantized(model: onnx.ModelProto, options: ConvertOptions, runtime: str, run: Run) -> ConvertResult:
    quantized = convert_quantized(model, options.img_size, options.shapes)
    judged = {"Caffe2 int8 net": "auto"}
    agreements = _agreements(quantized.net, to_qdq(model), options, judged, runtime, run, LEAST_SNR)
    latencies: list[Latency] = []
    if quantized.parts:
        whole = convert_quantized(model, options.img_size, options.shapes, in_parts=False)
        shapes = {name: x.shape for name, x in _samples(quantized.net, to_qdq(model), options)[0].feeds.items()}
        latencies = [estimated_latency(made.net, shapes) for made in (quantized, whole)]
    return ConvertResult(
        net=quantized.net,
        comparisons=(),
        quantized=quantized,
        latencies=tuple(latencies),
        agreements=agreements,
    )


def _agreements(
    net: Net,
    model: onnx.ModelProto,
    options: ConvertOptions,
    judged: Mapping[str, str],
    runtime: str,
    run: Run,
    least_snr: float = SAME_STEPS_SNR,
) -> tuple[Agreement, ...]:
    """How the net answers to inputs of each kind. judged: backends, by what is said of them; run: what is right."""
    drawn = [_samples(net, model, options, seed) for seed in range(DRAWN_SAMPLES)]
    agreements = []
    for samples in zip(*drawn, strict=True):
        expected = run(samples)
        for what, backend in judged.items():
            what = f"{what} against {runtime}, {samples[0].label}"
            agreements.append(compare_answers(what, net, samples, expected, backend, least_snr))
    return tuple(agreements)


def _convert_tflite(source: str | os.PathLike[str], options: ConvertOptions) -> ConvertResult:
    """By way of ONNX, in QDQ form where the file is quantized, and compared with LiteRT."""
    from caffe2_models.model_files.tflite_reader import read_tflite
    from exporters.tflite_to_onnx.conversion import to_onnx  # needs LiteRT
    from exporters.tflite_to_onnx.interpreter import run_tflite

    file = read_tflite(source)
    model = to_onnx(file)
    run = partial(run_tflite, file)
    if is_quantized(model) and options.keep_quantization:
        return _convert_quantized(model, options, "LiteRT", run)
    if is_quantized(model):
        model = without_quantization(model)
        return _convert_float(model, model, options)
    net = onnx_to_caffe2.convert(model, options.img_size, options.shapes)
    if any(tensor.quantization is not None for tensor in file.tensors):  # LiteRT rounds what meets such weights, too
        return ConvertResult(
            net=net, comparisons=(), agreements=_agreements(net, model, options, judges(), "LiteRT", run)
        )
    samples = _samples(net, model, options)
    return ConvertResult(net=net, comparisons=tuple(verify_answers(net, samples, run(samples), "LiteRT")))


def _takes_bytes(model: onnx.ModelProto) -> bool:
    """Whether an input or output is of bytes, which stand for real values."""
    ends = [*model.graph.input, *model.graph.output]
    return any(value.type.tensor_type.elem_type in QUANTIZED_TYPES for value in ends)


def _samples(net: Net, model: onnx.ModelProto, options: ConvertOptions, seed: int = 0) -> list[Sample]:
    preprocessing = get_preprocessing(net.predict)
    shapes = input_shapes(model, preprocessing, options.img_size, shapes=options.shapes)
    return make_samples(shapes, preprocessing, seed, input_dtypes(model))
