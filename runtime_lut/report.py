"""A net's latency as text, CSV, a plot and a page."""

import io
import json
import os
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_common.pages import Cell, Column, Section, join, key_of, notes, render, table
from caffe2_common.pages.colours import colour, plot_style
from runtime_lut.latency import FOUND, MISSING, SUBSTITUTED, Layer, NetLatency

CSV_COLUMNS = ("model", "index", "output", "op_type", "input_shapes", "arguments", "macs", "time_us",
"p10_us", "p90_us",
               "provenance", "low_us", "high_us")  # fmt: skip

PROVENANCE_NOTE = "exact, substituted: measured on the device; interpolated, estimated: not; missing: in no total"


def operator_lines(latency: NetLatency) -> list[str]:
    """Two lines per operator, as the reference tool prints them for what it finds.

    The type is the net's own also where another type's time stands in (the reference prints that other type):
    the lines then follow the net, and the last lines say what was substituted. What was not measured never
    stands under run_time.
    """
    return [line for layer in latency.layers for line in (_heading(layer), _time(layer))]


def _heading(layer: Layer) -> str:
    return f"op type {layer.op_type} with input {[list(shape) for shape in layer.input_shapes]}"


def _time(layer: Layer) -> str:
    if layer.provenance in FOUND:
        return f"run_time: {list(layer.records_us)}"
    if layer.provenance == MISSING:
        return "No match found in the database!"
    assert layer.interval_us is not None, "an estimate has a range"
    low, high = layer.interval_us
    return f"{layer.provenance}: [{layer.time_us:.1f}] ({low:.1f} to {high:.1f})"


def summary_lines(latency: NetLatency) -> list[str]:
    """The reference tool's last two lines; then, where not all is exact, what is not."""
    most = "" if latency.is_exact else "up to "  # of boxes and the like, which only a run counts
    total = f"The network run-time latency is {most}{latency.total_us}"
    if latency.interval_us is not None:
        low, high = latency.interval_us
        total = (
            f"The network run-time latency is {most}{latency.total_us:.1f} ({low:.1f} to {high:.1f}; "
            f"{100 * latency.estimated_us / latency.total_us:.0f} % of it ESTIMATED from {latency.source})"
        )
    lines = [f"All operators found in the table? {latency.all_found}", total]
    substituted = [layer for layer in latency.layers if layer.provenance == SUBSTITUTED]
    if substituted:
        pairs = ", ".join(sorted({f"{layer.op_type} by {layer.source_type}" for layer in substituted}))
        lines.append(f"Substituted: {len(substituted)} operators ({pairs})")
    if latency.missing:
        lines.append(f"Missing: {len(latency.missing)} operators, left out of the latency (--estimate fills them in)")
    for layer in latency.missing:
        lines.append(f"  {layer.op_type} {[list(shape) for shape in layer.input_shapes]} {layer.arguments}".rstrip())
        lines.append(f"    nearest: {layer.nearest or 'no record of this type'}")
    return lines


def top_lines(latency: NetLatency, count: int) -> list[str]:
    """The slowest operators as a table."""
    total = latency.total_us or 1.0
    rows = [
        (
            f"{layer.time_us or 0:.1f}",
            f"{100 * (layer.time_us or 0) / total:.1f} %",
            f"{layer.macs / 1e6:.1f}",
            layer.op_type,
            layer.output,
            str([list(shape) for shape in layer.input_shapes]),
            layer.provenance,
        )
        for layer in latency.top(count)
    ]
    return _aligned([("µs", "share", "M MAdds", "type", "output", "inputs", "provenance"), *rows], right=3)


def type_lines(latency: NetLatency) -> list[str]:
    """Time by operator type as a table."""
    total = latency.total_us or 1.0
    rows = [(f"{us:.1f}", f"{100 * us / total:.1f} %", str(count), op_type) for op_type, count, us in latency.by_type()]
    return _aligned([("µs", "share", "operators", "type"), *rows], right=3)


def _aligned(rows: list[tuple[str, ...]], right: int) -> list[str]:
    """Columns of text; the first `right` of them end flush."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column < right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def to_json(latencies: list[NetLatency]) -> str:
    """One object, or a list of them for several nets."""
    content = [latency.to_dict() for latency in latencies]
    return json.dumps(content[0] if len(content) == 1 else content, indent=1) + "\n"


def to_csv(latencies: list[NetLatency]) -> str:
    """One row per operator; times in µs, low and high for what is estimated."""
    import csv

    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for latency in latencies:
        for layer in latency.layers:
            low, high = layer.interval_us or (None, None)
            shapes = json.dumps([list(shape) for shape in layer.input_shapes])
            known = {"model": latency.model, "input_shapes": shapes, "low_us": low, "high_us": high}
            writer.writerow([known.get(column) or getattr(layer, column, None) for column in CSV_COLUMNS])
    return file.getvalue()


FORMS = ("json", "csv", "html", "plot")
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def save(latencies: list[NetLatency], path: str | os.PathLike[str], form: str | None = None) -> None:
    """Write the latencies to one file in one of FORMS, by default the one that its name's ending tells.

    Raises ModelError for an ending that tells none.
    """
    suffix = Path(path).suffix
    form = form or ("plot" if suffix in PLOT_SUFFIXES else suffix.removeprefix("."))
    renderers = {"json": to_json, "csv": to_csv, "html": to_html}
    if form == "plot":
        save_plot(latencies, path)
    elif form in renderers:
        write_atomically(path, renderers[form](latencies))
    else:
        raise ModelError(f"invalid file name {path}: expected one in .json, .csv, .html, {', '.join(PLOT_SUFFIXES)}")


def save_plot(latencies: list[NetLatency], path: str | os.PathLike[str]) -> None:
    """A bar per operator, a panel per net; the format follows the name (.png, .svg, .pdf). Needs matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise ModelError("--plot needs matplotlib; install it, or use --html, which needs nothing") from None
    with pyplot.rc_context(plot_style()):
        figure, panels = pyplot.subplots(len(latencies), 1, figsize=(12, 4 * len(latencies)), squeeze=False)
        for latency, panel in zip(latencies, panels[:, 0], strict=True):
            for provenance in latency.provenance:
                layers = [layer for layer in latency.layers if layer.provenance == provenance]
                times = [layer.time_us or 0 for layer in layers]
                panel.bar([layer.index for layer in layers], times, color=colour(provenance), label=provenance)
            panel.set(title=_title(latency), xlabel="operator", ylabel="µs")
            panel.legend()
    figure.tight_layout()
    content = io.BytesIO()
    try:
        figure.savefig(content, format=Path(path).suffix.lstrip(".") or None)
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from None
    finally:
        pyplot.close(figure)
    write_atomically(path, content.getvalue())


def _title(latency: NetLatency) -> str:
    return f"{latency.model} on {latency.device}: {latency.total_us / 1000:.1f} ms"


def to_html(latencies: list[NetLatency]) -> str:
    """A page that needs no other file: per net, time by type and a bar per operator."""
    title = _title(latencies[0]) if len(latencies) == 1 else "Latency"
    parts = [part for number, latency in enumerate(latencies) for part in sections(latency, f"latency{number}")]
    return render(title, parts)


def sections(latency: NetLatency, key: str = "latency") -> list[Section]:
    """What pages show of a net's latency. key: the anchors' beginning."""
    legend = {provenance: f"{count} {provenance}" for provenance, count in latency.provenance.items()}
    total = latency.total_us or 1.0
    longest = max((layer.time_us or 0 for layer in latency.layers), default=0) or 1.0
    lines = notes([f"Source: {latency.source}", *summary_lines(latency)])
    types: list[list[Cell | str]] = [
        [op_type, Cell(str(count), count), Cell(f"{us:.1f}", us), Cell(f"{100 * us / total:.1f} %", us, us / total)]
        for op_type, count, us in latency.by_type()
    ]
    return [
        Section(key, _title(latency), join([lines, table(TYPE_COLUMNS, types, label="time by type")])),
        Section(
            f"{key}-operators",
            "Operators",
            join([key_of(legend), table(COLUMNS, [_row(layer, longest) for layer in latency.layers],
                                        titles=[f"{layer.output} {layer.arguments}" for layer in latency.layers],
                                        label="operators")]),
        ),
    ]  # fmt: skip


TYPE_COLUMNS = [Column("type", is_number=False), Column("operators"), Column("µs"), Column("share")]
COLUMNS = [
    Column("#"),
    Column("type", is_number=False),
    Column("inputs", is_number=False),
    Column("M MAdds"),
    Column("µs"),
    Column("provenance", PROVENANCE_NOTE, is_number=False),
]


def _row(layer: Layer, longest: float) -> list[Cell | str]:
    shapes = " ".join("x".join(map(str, shape)) for shape in layer.input_shapes)
    time = "" if layer.time_us is None else f"{layer.time_us:.1f}"
    return [
        Cell(str(layer.index), layer.index),
        layer.op_type,
        shapes,
        Cell(f"{layer.macs / 1e6:.2f}", layer.macs),
        Cell(time, layer.time_us, (layer.time_us or 0) / longest, layer.provenance),
        layer.provenance,
    ]
