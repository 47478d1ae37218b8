"""The page of a net: its parts, and the data behind the panel of an operator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2_common.pages import (
    Bar,
    Cell,
    Column,
    Line,
    Markup,
    Point,
    Section,
    Track,
    bars,
    element,
    join,
    notes,
    render,
    scatter,
    table,
)
from caffe2_mobile.pages.drawing import draw
from caffe2_mobile.pages.findings import Finding, Times
from caffe2_mobile.pages.operators import Row, inputs_of
from caffe2_models.operators.node import listing
from exporters.int8.measurement import LayerError
from exporters.int8.report import layer_sections
from runtime_lut import report

if TYPE_CHECKING:
    from caffe2_mobile.api.view import Change, ViewResult

HERE = Path(__file__).parent
MIB = 1 << 20
KINDS = {"conv": "convolution, fully connected", "depthwise": "depthwise, grouped", "rest": "the rest"}


def to_page(result: ViewResult) -> str:
    """The page's file."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("view.css", "view.js"))
    parts = [
        Section("findings", "Findings", _findings(result)),
        Section("graph", "Graph", _graph(result)),
        Section("operators", "Operators", _operator_table(result)),
    ]
    if result.times:
        parts.append(
            Section("time", "Where the time goes", join(map(lambda times: _time(result, times), result.times)))
        )
    if result.answers is not None and result.answers.classifies:
        parts.append(Section("accuracy", "Images whose class changed", _accuracy(result)))
    if result.errors:
        parts += layer_sections(result.errors)
    if result.latency is not None:
        first, second = report.sections(result.latency)
        parts += [first, dataclasses.replace(second, title=f"Operators on {result.latency.device}")]
    return render(result.title, parts, _heading(result), _for_script(to_data(result)), style, script)


def to_data(result: ViewResult) -> dict[str, Any]:
    """All figures as JSON values; an operator's inputs and outputs name the operators by their place in the list."""
    errors = {error.name: error for error in result.errors}
    operators = []
    for row in result.rows:
        values = dataclasses.asdict(row)
        values["times_us"] = {times.key: times.by_place.get(row.place) for times in result.times}
        values["provenance"] = {times.key: times.provenance.get(row.place) for times in result.times}
        seen, error = result.activations.get(row.output), errors.get(row.output)
        values["activation"] = dataclasses.asdict(seen) if seen is not None and row.parent is None else None
        values["error"] = dataclasses.asdict(error) if error is not None and row.parent is None else None
        operators.append(values)
    answers = result.answers
    return _finite({
        "name": result.title,
        "inputs": {name: list(shape) for name, shape in result.inspected.inputs.items()},
        "outputs": result.net.outputs,
        "task": result.inspected.task,
        "macs": result.inspected.cost.macs if result.inspected.cost is not None else None,
        "parameters": result.inspected.cost.parameters if result.inspected.cost is not None else None,
        "times": [{"key": t.key, "title": t.title, "total_us": t.total_us, "interval_us": t.interval_us}
                  for t in result.times],
        "findings": [dataclasses.asdict(finding) for finding in result.findings],
        "images": answers.images if answers is not None else None,
        "agreement": answers.agreement if answers is not None else None,
        "float_top1": answers.float_top1 if answers is not None else None,
        "int8_top1": answers.int8_top1 if answers is not None else None,
        "top1": result.top1,
        "notes": result.notes,
        "operators": operators,
    })  # fmt: skip


def _finite(value: Any) -> Any:
    """The same, with None for numbers that JSON has not."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _for_script(data: dict[str, Any]) -> dict[str, Any]:
    """Only what the panel shows, without what is empty or follows; floats to six digits."""
    operators = [
        _slim({**o, "place": None, "is_exact": None, "is_bound": not o["is_exact"]}) for o in data["operators"]
    ]
    return {"times": _slim(data["times"]), "operators": operators}


def _slim(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _slim(item)
            for key, item in value.items()
            if item is not None and item is not False and item != "" and item != {}
        }
    if isinstance(value, list | tuple):
        return [_slim(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


# ---- the page's head


def _heading(result: ViewResult) -> Markup:
    inspected, net = result.inspected, result.net
    inputs = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in inspected.inputs.items())
    about = [f"{'int8' if net.is_quantized else 'float'} Caffe2 net"]
    about += [inspected.task] if inspected.task is not None else []
    about.append(f"{inputs or listing(inputs_of(net))} → {listing(net.outputs)}")
    lines = [element("p", " · ".join(about), class_="about")]
    if result.float_net is not None:
        lines.append(element("p", f"beside its float form, {result.float_net.name or 'net'}", class_="note"))
    tiles = (element("li", element("b", value), element("span", what)) for value, what in _tiles(result))
    return join([*lines, element("ul", *tiles, class_="tiles")])


def _tiles(result: ViewResult) -> Iterable[tuple[str, str]]:
    """(figure, what it is)"""
    cost = result.inspected.cost
    yield f"{len(result.rows):,}", "operators"
    if cost is not None:
        most = "" if cost.is_exact else "≤ "
        yield f"{most}{cost.macs / 1e6:,.1f} M", "multiply-adds"
        size = f"{cost.weight_bytes / MIB:.1f} MiB"
        if result.float_net is not None:
            own = sum(kind.nbytes for kind in result.float_net.parameter_types.values())
            size = f"{own / MIB:.1f} → {size}"
        yield size, f"of {cost.parameters:,} parameters"
        yield f"{most}{cost.peak_bytes / MIB:.1f} MiB", "of activations at a time"
    before = {times.key: times for times in result.float_times}
    for times in result.times:
        first = f"{before[times.key].total_us / 1000:.1f} → " if times.key in before else ""
        yield f"{first}{times.total_us / 1000:.1f} ms", times.title + _how(times)
    if result.answers is not None:
        if result.answers.labelled:
            yield f"{result.answers.float_top1:.1f} → {result.answers.int8_top1:.1f} %", "top-1, float → int8"
        if result.answers.classifies:
            yield f"{result.answers.agreement:.1f} %", f"of {result.answers.images} images keep their class"
    elif result.top1 is not None:
        yield f"{result.top1:.1f} %", "top-1 on these images"


def _how(times: Times) -> str:
    """Where a time on the device comes from."""
    counts: dict[str, int] = {}
    for provenance in times.provenance.values():
        counts[provenance] = counts.get(provenance, 0) + 1
    if times.interval_us is not None:
        low, high = (us / 1000 for us in times.interval_us)
        return f": {_listed(counts)}, {low:.1f} to {high:.1f} ms"
    return f": {_listed(counts)}" if times.key == "device" else ""


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(kind if len(counts) == 1 else f"{count} {kind}" for kind, count in counts.items())


def _findings(result: ViewResult) -> Markup:
    items = (_finding(finding, result.rows) for finding in result.findings)
    lines = [element("ul", *items, class_="findings")]
    if not result.findings:
        lines = [element("p", "Nothing is wrong with this net.")]
    return join([*lines, notes(result.notes, "note") if result.notes else None])


def _finding(finding: Finding, rows: list[Row]) -> Markup:
    buttons = (
        element("button", f"{rows[place].label} {rows[place].type}", type="button", data_key=place)
        for place in finding.places
    )
    mark = None if finding.weight == "fact" else element("b", f"{finding.weight}: ")
    return element("li", mark, finding.text, " " if finding.places else None, *buttons, class_=finding.weight)


# ---- graph and operators


def _shares(result: ViewResult) -> dict[str, dict[int, float]]:
    """Measure -> place -> share of the hottest operator."""
    added = {error.name: error.added for error in result.errors}
    measures: dict[str, dict[int, float]] = {
        times.key: {place: time or 0.0 for place, time in times.by_place.items()} for times in result.times
    }
    measures["macs"] = {row.place: float(row.macs or 0) for row in result.rows}
    if added:
        measures["noise"] = {row.place: added.get(row.output, 0.0) for row in result.rows if row.parent is None}
    return {
        measure: {place: value / most for place, value in values.items()}
        for measure, values in measures.items()
        if (most := max(values.values(), default=0.0)) > 0
    }


def _graph(result: ViewResult) -> Markup:
    """The picture with what steers it, all operators as a strip, and the panel of the chosen one."""
    shares = _shares(result)
    heat = {
        row.place: ";".join(
            f"--{measure}:{100 * values[row.place]:.1f}%" for measure, values in shares.items() if values.get(row.place)
        )
        for row in result.rows
    }
    inputs = {name: "x".join(map(str, result.inspected.inputs.get(name, ()))) for name in inputs_of(result.net)}
    cells = (element("i", data_key=row.place, style=heat[row.place] or None) for row in result.rows)
    label = "graph: arrows go from operator to operator, + and - zoom"
    pane = element("div", draw(result.rows, inputs, result.net.outputs, heat), class_="pane", tabindex="0", id="pane",
                   role="application", aria_label=label)  # fmt: skip
    hint = element("p", "Choose an operator: in the graph, the strip, the table, or by search.", class_="note")
    panel = element("div", hint, class_="panel", id="panel", aria_live="polite")
    return element(
        "div",
        _controls(result, list(shares)),
        element("div", *cells, class_="strip", aria_hidden="true"),
        element("div", pane, panel, class_="split"),
        id="net",
        data_colour=next(iter(shares), ""),
    )


def _controls(result: ViewResult, measures: list[str]) -> Markup:
    names = {times.key: f"time {times.title}" for times in result.times}
    names |= {"macs": "multiply-adds", "noise": "noise added", "": "nothing"}
    choices = (element("option", names[measure], value=measure) for measure in [*measures, ""])
    search = element("input", type="search", id="search", autocomplete="off", placeholder="type, name, block")
    zooms = {"0.8": ("-", "smaller"), "1.25": ("+", "larger"), "fit": ("fit", "fit the width")}
    buttons = (
        element("button", text, type="button", data_zoom=step, aria_label=label)
        for step, (text, label) in zooms.items()
    )
    return element(
        "div",
        element("label", "Colour by ", element("select", *choices, id="colour")),
        element("label", "Search ", search),
        element("output", id="found", for_="search"),
        element("span", *buttons, class_="zoom"),
        class_="controls",
    )


def _operator_table(result: ViewResult) -> Markup:
    shares = _shares(result)
    errors = {error.name: error for error in result.errors}
    is_int8, has_images = result.net.is_quantized, bool(result.activations)
    columns = [
        Column("#", "place in the net"),
        Column("type", is_number=False),
        Column("writes", is_number=False),
        Column("block", is_number=False),
        Column("shape", is_number=False),
        Column("M MAdds", "multiply-adds"),
        Column("parameters"),
        Column("kB", "bytes that it reads and writes, weights too"),
        *(Column(f"µs {t.key}", t.title) for t in result.times),
        *((Column("scale"), Column("zero point")) if is_int8 else ()),
        *((Column("SQNR dB", "signal to quantization noise"),
           Column("adds %", "noise to signal that is not in its inputs")) if errors else ()),
        *((Column("range used", "on these images", is_number=False),
           Column("clamped %", "values at the last step, or at a first step below zero"),
           Column("dead", "channels that never leave zero on these images")) if has_images else ()),
    ]  # fmt: skip
    rows: list[list[Cell | str]] = []
    for row in result.rows:
        cells: list[Cell | str] = [
            Cell(row.label, row.place),
            row.type,
            row.output,
            row.block,
            row.outputs[0].shape if row.outputs else "",
            _number(
                row.macs, None if row.macs is None else f"{row.macs / 1e6:.2f}", shares.get("macs", {}).get(row.place)
            ),
            Cell(f"{row.parameters:,}" if row.parameters else "", row.parameters),
            _number(row.nbytes, None if row.nbytes is None else f"{row.nbytes / 1000:,.1f}"),
        ]
        for times in result.times:
            time, provenance = times.by_place.get(row.place), times.provenance.get(row.place, "measured")
            share = shares.get(times.key, {}).get(row.place)
            cells.append(_number(time, None if time is None else f"{time:.1f}", share, provenance))
        blob = row.outputs[0] if row.outputs else None
        if is_int8:
            scale, zero_point = (blob.scale, blob.zero_point) if blob is not None else (None, None)
            cells += [_number(scale, f"{scale:.5g}" if scale is not None else None),
                      _number(zero_point, str(zero_point))]  # fmt: skip
        if errors:
            cells += _noise_cells(errors.get(row.output) if row.parent is None else None, shares, row.place)
        if has_images:
            cells += _image_cells(result, row)
        rows.append(cells)
    keys = [str(row.place) for row in result.rows]
    return table(columns, rows, keys, label="operators")


def _number(value: float | None, text: str | None, share: float | None = None, kind: str = "main") -> Cell:
    return Cell("", None) if value is None else Cell(text or "", value, share, kind)


def _noise_cells(error: LayerError | None, shares: Mapping[str, Mapping[int, float]], place: int) -> list[Cell]:
    if error is None:
        return [Cell(), Cell()]
    share = shares.get("noise", {}).get(place)
    return [Cell(f"{error.sqnr_db:.1f}", error.sqnr_db), Cell(f"{100 * error.added:.2f}", error.added, share)]


def _image_cells(result: ViewResult, row: Row) -> list[Cell]:
    seen = result.activations.get(row.output) if row.parent is None else None
    if seen is None:
        return [Cell(), Cell(), Cell()]
    share = seen.clamped
    clamped = Cell() if share is None else Cell(f"{100 * share:.2f}", share)
    dead = Cell(str(seen.dead_channels) if seen.dead_channels else "", seen.dead_channels)
    return [Cell(f"{seen.low:.3g} … {seen.high:.3g}"), clamped, dead]


# ---- time


def _time(result: ViewResult, times: Times) -> Markup:
    """Share by type, and the roofline, of one source of times."""
    totals: dict[str, float] = {}
    for place, time in times.by_place.items():
        totals[result.rows[place].type] = totals.get(result.rows[place].type, 0.0) + (time or 0.0)
    total = times.sum_us or 1.0
    most = max(totals.values(), default=0.0) or 1.0
    rows = [
        Bar(kind, [Track(us / most, "main", f"{100 * us / total:.1f} %")], f"{us:.0f} µs")
        for kind, us in sorted(totals.items(), key=lambda item: -item[1])
        if us
    ]
    heading = element(
        "h3", f"{times.title[:1].upper()}{times.title[1:]}: {times.sum_us / 1000:.2f} ms over the operators"
    )
    return element("div", heading, element("div", element("div", bars(rows)), _roofline(result, times), class_="pair"))


def _roofline(result: ViewResult, times: Times) -> Markup | None:
    """Rate against intensity; the roofs are the highest rates seen in this net."""
    points, bandwidth = [], 0.0
    for place, time in times.by_place.items():
        row = result.rows[place]
        if not time or not row.macs or not row.nbytes:
            continue
        bandwidth = max(bandwidth, row.nbytes / time)
        title = f"{row.label} {row.type} {row.output}: {time:.1f} µs, {row.macs / time / 1e3:.2f} G MAdds/s"
        points.append(Point(row.macs / row.nbytes, row.macs / time / 1e3, row.kind, title, str(place)))
    if len(points) < 2:
        return None
    peak = max(point.y for point in points)
    first, last = (f(point.x for point in points) for f in (min, max))
    ridge = peak / bandwidth * 1e3
    lines = [Line((first, first * bandwidth / 1e3), (ridge, peak), f"{bandwidth / 1e3:.1f} GB/s"),
             Line((ridge, peak), (max(last, ridge), peak), f"{peak:.1f} G MAdds/s")]  # fmt: skip
    kinds = {point.kind for point in points}
    legend = {kind: text for kind, text in (KINDS | {"float": "float, in an int8 net"}).items() if kind in kinds}
    return scatter(points, lines, "multiply-adds per byte read and written", "G multiply-adds per second; lines: the "
                   "highest rates in this net", legend)  # fmt: skip


# ---- accuracy


def _accuracy(result: ViewResult) -> Markup:
    answers = result.answers
    assert answers is not None, "there are answers to show"
    line = f"{len(answers.changes)} of {answers.images} images get another class in int8."
    if len(answers.changes) > len(result.changes):
        line += f" The first {len(result.changes)}:"
    return join([element("p", line), element("ul", *map(_change, result.changes), class_="changes")])


def _change(change: Change) -> Markup:
    def named(what: str, name: str) -> Markup:
        right = change.label is not None and name == change.label
        return element(
            "span", f"{what} ", element("b", name), " ✓" if right else None, class_="right" if right else None
        )

    label = None if change.label is None else element("span", "label ", element("b", change.label))
    picture = element("img", src=change.thumbnail, alt=change.image, title=change.image)
    return element("li", picture, element("div", label, named("float", change.float_class),
                                          named("int8", change.int8_class)))  # fmt: skip
