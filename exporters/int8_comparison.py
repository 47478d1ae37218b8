"""How near another form of an int8 net is to the net itself: blob by blob, byte by byte."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from caffe2_models import Int8Tensor, Net
from caffe2_models.tensors import TensorType
from exporters.verification import TOLERANCE, Sample

NEAR = 0.05  # of the largest output: what steps that a few bytes are off by may add up to

# Runs the other form on samples: for each, the bytes of the quantized blobs and the values of the others, by name.
Run = Callable[[Sequence[Sample]], Sequence[Mapping[str, np.ndarray]]]


@dataclass(frozen=True)
class Int8Report:
    """How far a form of an int8 net is from the net.

    form: what it is called. agreement: share of images whose largest output is the same. values: how many quantized
    values were compared, over all blobs; differing: how many of them differ; step: the largest such difference, in
    steps of its blob's own scale. output: largest difference of the first output, largest_output its largest value.
    step_alone: the largest step of one operator that is fed what the net itself computes, where it was measured.
    """

    form: str
    images: int
    agreement: float
    values: int
    differing: int
    step: int
    blob: str
    output: float
    largest_output: float
    step_alone: int | None = None

    @property
    def equal(self) -> bool:
        """Whether all bytes are equal, and a float output but for the rounding of float32 sums.

        Where float operators between bytes round otherwise in another runtime, a byte may be the next: then each
        operator alone gives equal bytes, and the output is near.
        """
        if self.differing == 0:
            return self.output <= TOLERANCE * self.largest_output
        return self.step_alone == 0 and self.output <= NEAR * self.largest_output

    def __str__(self) -> str:
        start = f"{self.form} against the int8 net, {self.images} images: "
        output = f"output max |difference| {self.output:.3g} of {self.largest_output:.3g}"
        if self.differing == 0:
            return f"{start}all {self.values:,} quantized values are equal; {output}"
        alone = "" if self.step_alone is None else f"; one operator alone differs by {self.step_alone} at most"
        return (
            f"{start}same top-1 on {self.agreement:.1%}; {output}; "
            f"{self.differing / self.values:.2%} of {self.values:,} quantized values differ, "
            f"by {self.step} steps at most ({self.blob}){alone}"
        )

    def with_step_alone(self, step: int) -> "Int8Report":
        return replace(self, step_alone=step)


def compare_int8(net: Net, form: str, samples: Sequence[Sample], blobs: Sequence[str], run: Run) -> Int8Report:
    """Compare quantized blobs, and the first output, of the net and of another form of it."""
    types = net.infer_types(net.input_types({name: array.shape for name, array in samples[0].feeds.items()}))
    exact, output = net.session(), net.outputs[0]
    steps: dict[str, int] = dict.fromkeys(blobs, 0)
    values = differing = images = agreeing = 0
    difference = largest = 0.0
    for sample, have in zip(samples, run(samples), strict=True):
        want = exact.run(sample.feeds, [output, *blobs])
        for blob in blobs:
            gap = _steps_apart(want[blob].data, have[blob])
            steps[blob] = max(steps[blob], int(gap.max(initial=0)))
            values, differing = values + gap.size, differing + int(np.count_nonzero(gap))
        expected, got = (real(value, types[output]) for value in (want[output], have[output]))
        largest = max(largest, float(np.abs(expected).max(initial=0)))
        images += len(expected)
        if expected.shape != got.shape:  # other detections
            difference = np.inf
            continue
        difference = max(difference, float(np.abs(expected - got).max(initial=0)))
        if expected.size:
            classes = [values.reshape(len(values), -1).argmax(1) for values in (expected, got)]
            agreeing += int((classes[0] == classes[1]).sum())
    worst = max(steps, key=lambda blob: steps[blob], default="")
    return Int8Report(
        form=form,
        images=images,
        agreement=agreeing / images if images else 1.0,
        values=values,
        differing=differing,
        step=steps.get(worst, 0),
        blob=worst,
        output=difference,
        largest_output=largest,
    )


def _steps_apart(want: np.ndarray, have: np.ndarray) -> np.ndarray:
    """|difference| of bytes, int32; as large as bytes can be apart where there are more or fewer of them."""
    return np.abs(want.astype(np.int32) - have) if want.shape == have.shape else np.full(want.shape, 255, np.int32)


def real(value: np.ndarray | Int8Tensor, blob_type: TensorType) -> np.ndarray:
    """The real values of a blob, of which another form may give the bytes."""
    if isinstance(value, Int8Tensor):
        return value.dequantize()
    if blob_type.scale is None or blob_type.zero_point is None:
        return value
    return Int8Tensor(value, blob_type.scale, blob_type.zero_point).dequantize()
