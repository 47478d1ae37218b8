"""Whether two forms of a network compute the same, on random and on image-like input."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Dims, Size, pair_of
from caffe2_models import Net
from caffe2_models.runtimes.onnx_runtime import open_session
from exporters.onnx_files import input_dims

# Of the largest output: what float32 sums of thousands of products in another order may differ by.
TOLERANCE = 1e-4
FLOOR = 1e-6

DEFAULT_SIZE = 224
FREE_LENGTH = 64  # of a dimension that is no height or width


@dataclass(frozen=True)
class Comparison:
    """What was compared with what on which input, and how far apart the outputs are."""

    what: str
    sample: str
    max_difference: float
    largest: float
    tolerance: float = TOLERANCE

    @property
    def holds(self) -> bool:
        return bool(self.max_difference <= self.limit)

    @property
    def limit(self) -> float:
        """A share of the largest output, but not less than what float32 sums around one are off by anyway."""
        return max(self.tolerance * self.largest, FLOOR)

    def __str__(self):
        verdict = "close" if self.holds else f"NOT close (limit {self.limit:.2e})"
        return (
            f"{self.what}, {self.sample} input: max |difference| {self.max_difference:.2e} "
            f"of {self.largest:.3g}: {verdict}"
        )


@dataclass(frozen=True)
class Sample:
    """One set of inputs, by name, and what it looks like."""

    label: str
    feeds: dict[str, np.ndarray]

    def __str__(self):
        shapes = ", ".join("x".join(map(str, array.shape)) for array in self.feeds.values())
        return f"{self.label} {shapes}"


def make_samples(
    shapes: Mapping[str, Sequence[int]],
    preprocessing: Preprocessing | None,
    seed: int = 0,
    dtypes: Mapping[str, np.dtype] | None = None,
) -> list[Sample]:
    """Inputs of these shapes: normal noise, and pictures with the spectrum of photographs, preprocessed.

    dtypes: of inputs that are not float32; integers are 0 and 1, which are places in whatever they count.
    """
    rng = np.random.default_rng(seed)
    others = {name: dtype for name, dtype in (dtypes or {}).items() if dtype.kind != "f"}
    noise = {
        name: rng.integers(0, 2, shape).astype(others[name])
        if name in others
        else rng.standard_normal(shape, np.float32)
        for name, shape in shapes.items()
    }
    samples = [Sample("random", noise)]
    if all(len(shape) == 4 for shape in shapes.values()) and not others:
        images = {name: _image_like(rng, shape, preprocessing) for name, shape in shapes.items()}
        samples.append(Sample("image-like", images))
    return samples


def compare(
    what: str,
    sample: Sample | str,
    expected: Mapping[str, np.ndarray],
    got: Mapping[str, np.ndarray],
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Of all outputs that `expected` names, the one that is furthest off by its own scale."""
    found: list[Comparison] = []
    for name, want in expected.items():
        have = np.asarray(got[name])
        if have.shape != want.shape:
            return Comparison(f"{what}: {name} {have.shape} is not {want.shape}", str(sample), np.inf, 1.0, tolerance)
        gap, largest = _difference(want, have)
        found.append(Comparison(what, str(sample), gap, largest, tolerance if want.dtype.kind == "f" else 0.0))
    nothing = Comparison(what, str(sample), 0.0, 0.0, tolerance)
    return max(found, key=lambda comparison: comparison.max_difference / comparison.limit, default=nothing)


def _difference(want: np.ndarray, have: np.ndarray) -> tuple[float, float]:
    """(largest difference, largest finite value); infinities and NaN are themselves only.

    Whole numbers (places of maxima, classes of pixels) are equal, but for one in a thousand: where two values are
    equal to float32's last bits, either may be the larger.
    """
    real, other = want.astype(np.float64), have.astype(np.float64)
    same = (real == other) | (np.isnan(real) & np.isnan(other))
    largest = float(np.abs(real[np.isfinite(real)]).max(initial=0))
    if same.all() or (want.dtype.kind != "f" and (~same).sum() <= want.size // 1000):
        return 0.0, largest
    gap = np.abs(real[~same] - other[~same]).max()
    return float(np.inf if np.isnan(gap) else gap), largest


def run_onnx(model: onnx.ModelProto | str | os.PathLike, samples: Iterable[Sample]) -> list[dict[str, np.ndarray]]:
    """The outputs of an ONNX model (or file) by ONNX Runtime, for each sample."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else os.fspath(model)
    try:
        session = open_session(source, options)
        names = [output.name for output in session.get_outputs()]
        types = {value.name: np.float16 if value.type == "tensor(float16)" else None for value in session.get_inputs()}
        return [
            dict(
                zip(
                    names,
                    session.run(None, {k: v.astype(types[k] or v.dtype) for k, v in s.feeds.items()}),
                    strict=True,
                )
            )
            for s in samples
        ]
    except Exception as error:  # onnxruntime's errors have no common class that it exports
        raise ModelError(f"ONNX Runtime cannot run the model: {str(error).splitlines()[0]}") from error


def run_net(net: Net, samples: Iterable[Sample], backend: str = "reference") -> list[dict[str, np.ndarray]]:
    """The outputs of a Caffe2 net for each sample, by the runtime that defines them, or another."""
    session = net.session(backend=backend)
    try:
        return [session.run(sample.feeds) for sample in samples]
    finally:
        if backend == "caffe2":  # its process outlives the session, with all blobs of the net
            session.close()


def real_caffe2_is_at_hand() -> bool:
    return bool(os.environ.get("CAFFE2_PYTHON"))


def verify_net(net: Net, model, samples: Sequence[Sample], tolerance: float = TOLERANCE) -> list[Comparison]:
    """Compare a net with the ONNX model (or file) it came from; in the real Caffe2 too, if at hand."""
    return verify_answers(net, samples, run_onnx(model, samples), "ONNX Runtime", tolerance)


def verify_answers(
    net: Net,
    samples: Sequence[Sample],
    expected: Sequence[Mapping[str, np.ndarray]],
    runtime: str,
    tolerance: float = TOLERANCE,
) -> list[Comparison]:
    """Compare what a net answers with what a runtime does, whose outputs are in the net's order."""
    comparisons = []
    for what, backend in judges().items():
        got = run_net(net, samples, backend)
        for sample, want, have in zip(samples, expected, got, strict=True):
            named = dict(zip(net.outputs, want.values(), strict=True))
            comparisons.append(compare(f"{what} against {runtime}", sample, named, have, tolerance))
    return comparisons


def judges() -> dict[str, str]:
    """The backends that tell what a Caffe2 net computes, by what is said of them: the real one too, if at hand."""
    found = {"Caffe2 net in our runtime": "reference"}
    return found | {"Caffe2 net in the real Caffe2": "caffe2"} if real_caffe2_is_at_hand() else found


def input_shapes(
    model: onnx.ModelProto,
    preprocessing: Preprocessing | None,
    size: Size | None = None,
    batch: int = 1,
    shapes: Mapping[str, Dims] | None = None,
) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's inputs; free dimensions take the batch, `size`, or the recorded size."""
    recorded = preprocessing.size if preprocessing is not None else DEFAULT_SIZE
    sides = dict(zip((2, 3), pair_of(size if size is not None else recorded), strict=True))
    return {
        name: tuple(
            dim if dim is not None else batch if axis == 0 else sides.get(axis, FREE_LENGTH)
            for axis, dim in enumerate(dims)
        )
        for name, dims in input_dims(model, size, shapes).items()
    }


def _image_like(rng: np.random.Generator, shape: Sequence[int], preprocessing: Preprocessing | None) -> np.ndarray:
    """Pictures whose amplitude falls with 1 / frequency, as photographs' does; (pixel - mean) / std."""
    count, channels, height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    amplitude = 1 / np.maximum(frequency, 1 / max(height, width))
    phase = np.exp(2j * np.pi * rng.random((count, 1, *frequency.shape)))  # the channels share most of the picture
    tint = np.exp(0.5j * rng.standard_normal((count, channels, *frequency.shape)))
    picture = np.fft.irfft2(amplitude * phase * tint, s=(height, width))
    low, high = picture.min(axis=(2, 3), keepdims=True), picture.max(axis=(2, 3), keepdims=True)
    pixels = (picture - low) / np.maximum(high - low, 1e-12)
    preprocessing = preprocessing or Preprocessing()
    if len(preprocessing.mean) == channels:
        column = (1, channels, 1, 1)
        pixels = (pixels - np.reshape(preprocessing.mean, column)) / np.reshape(preprocessing.std, column)
    return pixels.astype(np.float32)
