"""The whole way of a model of the zoo, PyTorch -> ONNX -> Caffe2 -> ONNX, with every form compared."""

import json
import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import pair_of
from exporters import torch_to_onnx
from exporters.caffe2_to_onnx import to_onnx
from exporters.onnx_to_caffe2 import convert
from exporters.verification import (
    TOLERANCE,
    Sample,
    compare,
    make_samples,
    real_caffe2_is_at_hand,
    run_net,
    run_onnx,
)

# The forms after PyTorch, whose output each is compared with.
FORMS = ("ONNX Runtime", "our runtime", "round trip", "real Caffe2")

SMALL_SIZE = 128  # up to which one image has too few pixels in the last maps to measure a variance from


@dataclass(frozen=True)
class Row:
    """One model at one size: what it became, how long that took (s), how far each form is from PyTorch.

    size: height and width of the input; parameters: how many numbers the Caffe2 net has; operators: how many
    of each type. differences: largest difference over the largest output, by form (FORMS); NaN where Caffe2
    is not at hand.
    """

    model: str
    size: int
    parameters: int
    operators: dict[str, int]
    export_seconds: float
    convert_seconds: float
    differences: dict[str, float]

    @property
    def holds(self) -> bool:
        return all(math.isnan(gap) or gap <= TOLERANCE for gap in self.differences.values())


def sweep(name: str, size: int | None = None) -> Row:
    """Take one model all the way, with random weights and BatchNorm statistics that fit the samples.

    size: height and width in place of the model's own. Raises ModelError where a stage does not work.
    """
    module = torch_to_onnx.create_module(name, img_size=size)
    preprocessing = Preprocessing(**module.default_cfg)
    shape = (1, 3, *pair_of(preprocessing.size))
    samples = make_samples({torch_to_onnx.INPUT: shape}, preprocessing)
    torch_to_onnx.randomize_statistics(module, _statistics_samples(preprocessing))
    start = time.perf_counter()
    model = torch_to_onnx.export(module, shape, preprocessing=preprocessing, name=name)
    exported = time.perf_counter()
    net = convert(model)
    converted = time.perf_counter()
    results = {
        "ONNX Runtime": run_onnx(model, samples),
        "our runtime": run_net(net, samples),
        "round trip": run_onnx(to_onnx(net, {torch_to_onnx.INPUT: shape}), samples),
    }
    if real_caffe2_is_at_hand():
        results["real Caffe2"] = run_net(net, samples, "caffe2")
    expected = torch_to_onnx.run(module, samples)
    differences = dict.fromkeys(FORMS, math.nan)
    for form, outputs in results.items():
        pairs = [compare(form, *triple) for triple in zip(samples, expected, outputs, strict=True)]
        differences[form] = max(pair.max_difference / pair.largest for pair in pairs)
    return Row(
        model=name,
        size=max(pair_of(preprocessing.size)),
        parameters=sum(math.prod(tensor.shape) for tensor in net.parameter_types.values()),
        operators=dict(Counter(node.type for node in net.operators).most_common()),
        export_seconds=exported - start,
        convert_seconds=converted - exported,
        differences=differences,
    )


class Journal:
    """Rows kept in a file, one JSON object per line, so that a sweep goes on where it was interrupted.

    Several sweeps may write to one journal at the same time: each row is appended in a single write.
    """

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> dict[tuple[str, int], Row]:
        """The rows so far, by model and size; a line that was cut off is left out."""
        rows = {}
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else ():
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError):
                continue
            rows[row.model, row.size] = row
        return rows

    def add(self, row: Row) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _statistics_samples(preprocessing: Preprocessing) -> list[Sample]:
    """Images enough to measure a variance from, also where the last maps are a few pixels."""
    height, width = pair_of(preprocessing.size)
    shape = (8 if max(height, width) <= SMALL_SIZE else 1, 3, height, width)
    return make_samples({torch_to_onnx.INPUT: shape}, preprocessing, seed=1)
