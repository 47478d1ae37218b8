"""The report of a quantization: text, JSON, or one HTML page that needs nothing else."""

import dataclasses
import html
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from string import Template

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from exporters.int8.measurement import KEPT_FROM, Answers, Errors, LayerError

PAGE = Path(__file__).with_name("report.html")
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

    clamps: layers that are clamped from above (ReLU6). calibration: answers on the calibration images; evaluation: on
    other images, where there are any.
    """

    model: str
    recipe: dict
    calibration_images: int
    operators: dict[str, int]
    float_bytes: int
    int8_bytes: int
    dead_channels: int
    absorbed_channels: int
    clamps: int
    equalized_layers: int
    seconds: float
    calibration: Answers
    evaluation: Answers | None
    latency: Latency | None
    layers: list[LayerError]

    @property
    def islands(self) -> int:
        """Transitions from float back to int8, the input's aside."""
        return max(self.operators.get("Int8Quantize", 0) - 1, 0)

    @property
    def float_operators(self) -> dict[str, int]:
        """Operators that QNNPACK has not."""
        order = ("NCHW2NHWC", "NHWC2NCHW")
        return {kind: n for kind, n in self.operators.items() if not kind.startswith("Int8") and kind not in order}

    @property
    def judged(self) -> Answers:
        """The answers that the drop is measured on."""
        return self.evaluation or self.calibration

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
        if self.float_operators:
            lines.append(
                f"in float, for QNNPACK lacks them: {_listed(self.float_operators)}; {self.islands} returns to int8"
            )
        if self.clamps:
            lines.append(
                f"clamps from above (ReLU6): {self.clamps}, all kept: a layer's last step is at its clamp or below"
            )
        lines += [
            f"parameters: {self.float_bytes / 1e6:.2f} MB float, {self.int8_bytes / 1e6:.2f} MB int8",
            f"corrections: {self.dead_channels} dead channels removed, {self.equalized_layers} layers equalized, "
            f"{self.absorbed_channels} channels absorbed; {self.seconds:.0f} s",
            answer_line("calibration images", self.calibration),
        ]
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
        for name in ("calibration", "evaluation"):
            answers = getattr(self, name)
            if answers is not None:
                values[name] = answers_json(answers)
        return json.dumps({**values, "islands": self.islands, "drop": self.judged.drop}, indent=1) + "\n"

    def to_html(self) -> str:
        return Template(PAGE.read_text(encoding="utf-8")).substitute(
            model=html.escape(self.model),
            summary="\n".join(f"<li>{html.escape(line)}</li>" for line in self.summary_lines()),
            recipe=html.escape(", ".join(f"{name} {value}" for name, value in self.recipe.items())),
            noise_plot=noise_plot(self.layers),
            weight_plot=weight_plot(self.layers),
            rows="\n".join(map(_row, self.guilty)),
        )


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


def _output_text(item: tuple[str, Errors]) -> str:
    name, errors = item
    text = f"{name}: SQNR {errors.sqnr_db:.1f} dB, cosine {errors.cosine:.5f}, largest error {errors.largest:.3g}"
    if errors.are_scores and errors.kept_float:
        text += f", {errors.kept_both} of {errors.kept_float} scores from {KEPT_FROM} on kept"
        text += f" and {errors.kept_int8 - errors.kept_both} more" if errors.kept_int8 > errors.kept_both else ""
    return text


def answers_json(answers: Answers) -> dict:
    names = ("images", "agreement", "float_top1", "int8_top1", "cross_entropy_rise", "mean_divergence", "drop")
    values = {name: getattr(answers, name) for name in names}
    values["agreement"] = answers.agreement if answers.classifies else None
    values["mean_divergence"] = answers.mean_divergence if answers.classifies else None
    kept = ("kept_float", "kept_int8", "kept_both")
    values["outputs"] = {
        name: {
            "sqnr_db": errors.sqnr_db,
            "cosine": errors.cosine,
            "largest_error": errors.largest,
            **({count: getattr(errors, count) for count in kept} if errors.are_scores else {}),
        }
        for name, errors in answers.outputs.items()
    }
    return values


def noise_plot(layers: list[LayerError]) -> str:
    """SQNR of the layers in order, as an SVG bar chart."""
    highest = max([layer.sqnr_db for layer in layers] + [10.0])
    bars = []
    for index, layer in enumerate(layers):
        share = max(layer.sqnr_db, 0) / highest
        title = f"{layer.name} ({layer.type}): {layer.sqnr_db:.1f} dB"
        bars.append(_bar(index, 0.0, share, "weighted" if layer.weight_range else "other", title))
    return _chart(len(layers), bars, [(level / highest, f"{level} dB") for level in range(0, int(highest) + 1, 10)])


def weight_plot(layers: list[LayerError]) -> str:
    """Weight ranges before and after corrections, each as a share of the widest, on a logarithmic scale."""
    weighted = [layer for layer in layers if layer.weight_range is not None]
    widths = [(_width(layer.original_weight_range), _width(layer.weight_range)) for layer in weighted]
    decades = 4.0
    top = math.log10(max([max(pair) for pair in widths] + [1e-9]))

    def share(width: float) -> float:
        return min(max(1 - (top - math.log10(max(width, 1e-30))) / decades, 0.0), 1.0)

    bars = []
    for index, (layer, (before, after)) in enumerate(zip(weighted, widths, strict=True)):
        title = f"{layer.name}: {before:.3g} before, {after:.3g} after"
        bars.append(_bar(2 * index, 0.0, share(before), "before", title))
        bars.append(_bar(2 * index + 1, 0.0, share(after), "after", title))
    levels = [(1 - step / decades, f"{10 ** (top - step):.2g}") for step in range(int(decades) + 1)]
    return _chart(2 * len(weighted), bars, levels)


HEIGHT, WIDTH, MARGIN = 180, 900, 60


def _chart(slots: int, bars: list[str], levels: list[tuple[float, str]]) -> str:
    lines = []
    for share, label in levels:
        y = HEIGHT * (1 - share) + 10
        lines.append(f'<line class="level" x1="{MARGIN}" x2="{MARGIN + WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{html.escape(label)}</text>')
    scale = WIDTH / max(slots, 1)
    body = "".join(bars)
    return (
        f'<svg viewBox="0 0 {MARGIN + WIDTH + 10} {HEIGHT + 20}" role="img">{"".join(lines)}'
        f'<g transform="translate({MARGIN} 10) scale({scale:.4f} {HEIGHT})">{body}</g></svg>'
    )


def _bar(slot: int, low: float, high: float, kind: str, title: str) -> str:
    return (
        f'<rect class="{kind}" x="{slot + 0.1:.2f}" width="0.8" y="{1 - high:.4f}" height="{high - low:.4f}">'
        f"<title>{html.escape(title)}</title></rect>"
    )


def _width(extent: tuple[float, float] | None) -> float:
    return max(extent[1], 0) - min(extent[0], 0) if extent is not None else 0.0


def _row(layer: LayerError) -> str:
    cells = [
        layer.name,
        layer.type,
        "x".join(map(str, layer.shape[1:])),
        f"{layer.sqnr_db:.1f}",
        f"{layer.cosine:.5f}",
        f"{100 * layer.added:.2f}",
        _range(layer.original_weight_range),
        _range(layer.weight_range),
        _range(layer.activation_range),
        _range(layer.covered_range),
    ]
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _range(extent: tuple[float, float] | None) -> str:
    return "" if extent is None else f"{extent[0]:.3g} … {extent[1]:.3g}"
