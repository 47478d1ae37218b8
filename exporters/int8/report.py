"""The report of a quantization: text, JSON, or one HTML page that needs nothing else."""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_common.pages import Bar, Cell, Column, Markup, Section, Track, bars, element, join, notes, render, table
from exporters.int8.measurement import KEPT_FROM, Answers, LayerError, OutputErrors

SUFFIXES = (".txt", ".json", ".html")


@dataclass(frozen=True)
class Latency:
    """An estimate, ms, and the interval that holds the true one nine times out of ten."""

    device: str
    ms: float
    low_ms: float
    high_ms: float

    def __str__(self):
        return f"{self.ms:.1f} ms ({self.low_ms:.1f} to {self.high_ms:.1f}) on {self.device}, estimated"


@dataclass(frozen=True)
class Report:
    """What was made, and how well it answers.

    clamps: layers that are clamped from above (ReLU6). calibration: answers on the calibration images; held_out: on
    images of the same folder that did not calibrate; evaluation: on other images; each where there are any.
    """

    model: str
    recipe: dict
    calibration_images: int
    operators: dict[str, int]
    float_bytes: int
    int8_bytes: int
    dead_channels: int
    absorbed_channels: int
    split_channels: int
    added_channels: int
    clamps: int
    equalized_layers: int
    seconds: float
    calibration: Answers
    held_out: Answers | None
    evaluation: Answers | None
    latency: Latency | None
    layers: list[LayerError]
    target: str = "qnnpack"
    fine_scores: bool = False

    @property
    def islands(self) -> int:
        """Transitions from float back to int8, the input's aside."""
        return max(self.operators.get("Int8Quantize", 0) - 1, 0)

    @property
    def float_operators(self) -> dict[str, int]:
        """Operators that QNNPACK has not; what adds the parts of scores is none of them."""
        counts = {kind: n for kind, n in self.operators.items() if is_float(kind)}
        if self.fine_scores:
            counts["Sum"] -= 1
        return {kind: n for kind, n in counts.items() if n}

    @property
    def judged(self) -> Answers:
        """The answers that the drop is measured on."""
        return self.evaluation or self.held_out or self.calibration

    @property
    def guilty(self) -> list[LayerError]:
        """Layers by how much noise they add, the worst first."""
        return sorted(self.layers, key=lambda layer: -layer.added)

    def save(self, path: str | os.PathLike) -> None:
        """In the form that the name ends in: .txt, .json or .html; raises ModelError for another."""
        check_path(path)
        content = {".txt": self.to_text, ".json": self.to_json, ".html": self.to_html}[Path(path).suffix]()
        write_atomically(path, content)

    def to_text(self) -> str:
        return "\n".join([*self.summary_lines(), "", *self.layer_lines(self.guilty)]) + "\n"

    def summary_lines(self) -> list[str]:
        lines = [f"{self.model}: {sum(self.operators.values())} operators ({_listed(self.operators)})"]
        if self.target == "qnnpack" and self.float_operators:
            lines.append(
                f"in float, for QNNPACK lacks them: {_listed(self.float_operators)}; {self.islands} returns to int8"
            )
        if self.fine_scores:
            lines.append(
                "scores of classes: their layer is there twice, for either end of their range, in twice as many steps"
            )
        if self.clamps:
            lines.append(
                f"clamps from above (ReLU6): {self.clamps}, all kept: a layer's last step is at its clamp or below"
            )
        lines += [
            f"parameters: {self.float_bytes / 1e6:.2f} MB float, {self.int8_bytes / 1e6:.2f} MB int8",
            f"corrections: {self.dead_channels} dead channels removed, {self.equalized_layers} layers equalized, "
            f"{self.absorbed_channels} channels absorbed, {self.split_channels} made copies, "
            f"{self.added_channels} added; {self.seconds:.0f} s",
            answer_line("calibration images", self.calibration),
        ]
        if self.held_out is not None:
            lines.append(answer_line("held-out images", self.held_out))
        if self.evaluation is not None:
            lines.append(answer_line("other images", self.evaluation))
        if self.latency is not None:
            lines.append(f"latency: {self.latency}")
        return lines

    @staticmethod
    def layer_lines(layers: list[LayerError]) -> list[str]:
        """A table, one line for each layer."""
        width = max([len(layer.name) for layer in layers] + [5])
        lines = [
            f"{'layer':{width}}  {'operator':18} {'SQNR dB':>8} {'cosine':>8} {'adds %':>7}  weights before, after"
        ]
        for layer in layers:
            weights = ""
            if layer.weight_range is not None:
                before, after = layer.original_weight_range or (0.0, 0.0), layer.weight_range
                weights = f"{before[0]:.3g}...{before[1]:.3g}, {after[0]:.3g}...{after[1]:.3g}"
            lines.append(
                f"{layer.name:{width}}  {layer.type:18} {layer.sqnr_db:8.1f} {layer.cosine:8.5f} "
                f"{100 * layer.added:7.2f}  {weights}".rstrip()
            )
        return lines

    def to_json(self) -> str:
        """All fields, and what follows from them."""
        values = dataclasses.asdict(self)
        for name in ("calibration", "held_out", "evaluation"):
            answers = getattr(self, name)
            if answers is not None:
                values[name] = answers_json(answers)
        return json.dumps({**values, "islands": self.islands, "drop": self.judged.drop}, indent=1) + "\n"

    def to_html(self) -> str:
        recipe = ", ".join(f"{name} {value}" for name, value in self.recipe.items())
        heading = join([notes(self.summary_lines()), element("p", f"Recipe: {recipe}.", class_="note")])
        return render(f"Int8: {self.model}", layer_sections(self.layers), heading)


def is_float(kind: str) -> bool:
    """Whether an operator of an int8 net is none of QNNPACK's, nor a mere change of layout."""
    return not kind.startswith("Int8") and kind not in ("NCHW2NHWC", "NHWC2NCHW")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def check_path(path: str | os.PathLike) -> None:
    if Path(path).suffix not in SUFFIXES:
        raise ModelError(f"{path}: a report ends in {', '.join(SUFFIXES)}")


def answer_line(what: str, answers: Answers) -> str:
    if not answers.classifies:
        return f"{what}: {answers.images}; {'; '.join(map(_output_text, answers.outputs.items()))}"
    line = f"{what}: {answers.images}, of which {answers.agreement:.1f} % get the same class"
    if answers.labelled:
        line += f"; top-1 {answers.float_top1:.2f} % float, {answers.int8_top1:.2f} % int8"
        line += f"; cross-entropy {answers.cross_entropy_rise:+.4f}"
    return f"{line}; divergence {answers.mean_divergence:.4f}"


def _output_text(item: tuple[str, OutputErrors]) -> str:
    name, errors = item
    text = f"{name}: SQNR {errors.sqnr_db:.1f} dB, cosine {errors.cosine:.5f}, largest error {errors.largest:.3g}"
    in_float, in_int8, in_both = errors.kept
    if in_float:
        some, channels = errors.score_channels
        text += f", in {some} of {channels} channels" if some < channels else ","
        text += f" {in_both} of {in_float} scores from {KEPT_FROM} on kept"
        text += f" and {in_int8 - in_both} more" if in_int8 > in_both else ""
    return text


def answers_json(answers: Answers) -> dict:
    names = ("images", "agreement", "float_top1", "int8_top1", "cross_entropy_rise", "mean_divergence", "drop")
    values = {name: getattr(answers, name) for name in names}
    values["agreement"] = answers.agreement if answers.classifies else None
    values["mean_divergence"] = answers.mean_divergence if answers.classifies else None
    counts = ("kept_float", "kept_int8", "kept_both")
    values["outputs"] = {
        name: {
            "sqnr_db": errors.sqnr_db,
            "cosine": errors.cosine,
            "largest_error": errors.largest,
            **(dict(zip(counts, errors.kept, strict=True)) if errors.score_channels[0] else {}),
        }
        for name, errors in answers.outputs.items()
    }
    return values


def layer_sections(layers: Sequence[LayerError]) -> list[Section]:
    """What pages show of layers in int8 beside the float ones: noise, ranges of weights, all figures."""
    return [
        Section("noise", "Signal to quantization noise, layer by layer", noise_plot(layers)),
        Section("weights", "Weight ranges before and after corrections", weight_plot(layers)),
        Section("layers", "Layers, the guilty first", layer_table(layers)),
    ]


def noise_plot(layers: Sequence[LayerError]) -> Markup:
    """SQNR of the layers in order, as bars."""
    highest = max([layer.sqnr_db for layer in layers] + [10.0])
    rows = [
        Bar(
            layer.name,
            [
                Track(
                    max(layer.sqnr_db, 0) / highest,
                    "main" if layer.weight_range else "other",
                    f"{layer.sqnr_db:.1f} dB",
                )
            ],
            f"{layer.name} ({layer.type})",
            layer.name,
        )
        for layer in layers
    ]
    note = "Of each int8 activation against the float net's, in the order of the net."
    return join([element("p", note, class_="note"),
                 bars(rows, {"main": "layers with weights", "other": "without"})])  # fmt: skip


def weight_plot(layers: Sequence[LayerError]) -> Markup:
    """Widths of weight ranges before and after corrections, on a logarithmic scale of four decades."""
    weighted = [layer for layer in layers if layer.weight_range is not None]
    widths = [(_width(layer.original_weight_range), _width(layer.weight_range)) for layer in weighted]
    decades = 4.0
    top = math.log10(max([max(pair) for pair in widths] + [1e-9]))

    def track(width: float, kind: str) -> Track:
        share = 1 - (top - math.log10(max(width, 1e-30))) / decades
        return Track(min(max(share, 0.0), 1.0), kind, f"{width:.3g}")

    rows = [
        Bar(layer.name, [track(before, "before"), track(after, "after")], f"{layer.name} ({layer.type})", layer.name)
        for layer, (before, after) in zip(weighted, widths, strict=True)
    ]
    note = f"Width of each layer's range, logarithmic: the left end is {10 ** (top - decades):.2g}."
    legend = {"before": "as it came", "after": "after the corrections"}
    return join([element("p", note, class_="note"), bars(rows, legend)])


COLUMNS = [
    Column("layer", is_number=False),
    Column("operator", is_number=False),
    Column("shape", is_number=False),
    Column("SQNR dB", "signal to quantization noise"),
    Column("cosine", "of the int8 and the float activation"),
    Column("adds %", "noise to signal that is not in the layer's inputs, percent"),
    Column("weights before", is_number=False),
    Column("after", "the corrections", is_number=False),
    Column("activation", "extremes of the float net's", is_number=False),
    Column("covered", "by the 256 steps", is_number=False),
]


def layer_table(layers: Sequence[LayerError]) -> Markup:
    """All figures of the layers, those that add most noise first."""
    most = max((layer.added for layer in layers), default=0.0) or 1.0
    rows: list[list[Cell | str]] = [
        [
            layer.name,
            layer.type,
            "x".join(map(str, layer.shape[1:])),
            Cell(f"{layer.sqnr_db:.1f}", layer.sqnr_db),
            Cell(f"{layer.cosine:.5f}", layer.cosine),
            Cell(f"{100 * layer.added:.2f}", layer.added, layer.added / most),
            _range(layer.original_weight_range),
            _range(layer.weight_range),
            _range(layer.activation_range),
            _range(layer.covered_range),
        ]
        for layer in sorted(layers, key=lambda layer: -layer.added)
    ]
    return table(COLUMNS, rows, keys=[], label="layers")


def _width(extent: tuple[float, float] | None) -> float:
    return max(extent[1], 0) - min(extent[0], 0) if extent is not None else 0.0


def _range(extent: tuple[float, float] | None) -> str:
    return "" if extent is None else f"{extent[0]:.3g} … {extent[1]:.3g}"
