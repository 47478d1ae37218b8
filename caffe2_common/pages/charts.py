"""Charts that need no script and whose labels are as large at 400 pixels as at 1600."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from caffe2_common.pages.markup import Markup, element

HEIGHT, LEFT, BOTTOM = 340, 58, 44  # pixels of a scatter plot, and of its margins


@dataclass(frozen=True)
class Track:
    """One bar: its share of the longest, its kind of colour, its value as text."""

    share: float
    kind: str
    text: str


@dataclass(frozen=True)
class Bar:
    """What is measured, with a bar for each of its values."""

    name: str
    tracks: Sequence[Track]
    title: str = ""
    key: str | None = None


Legend = dict[str, str]  # kind of colour -> what it means


def bars(rows: Sequence[Bar], legend: Legend | None = None) -> Markup:
    """A line for each: name, bars, values."""
    lines = [
        element(
            "li",
            element("span", row.name, class_="name"),
            element(
                "span",
                *(element("i", class_=f"bar {t.kind}", style=f"width:{_percent(t.share)}") for t in row.tracks),
                class_="track",
            ),
            element("span", *(element("b", t.text) for t in row.tracks), class_="value"),
            title=row.title or None,
            data_key=row.key,
        )
        for row in rows
    ]
    return element("div", key_of(legend or {}), element("ol", *lines, class_="bars"))


def key_of(legend: Legend) -> Markup | None:
    """What the colours mean."""
    if not legend:
        return None
    items = (element("span", element("i", class_=f"key {kind}"), text) for kind, text in legend.items())
    return element("p", *items, class_="legend")


@dataclass(frozen=True)
class Point:
    """A point of a scatter plot, larger than zero in both directions."""

    x: float
    y: float
    kind: str
    title: str
    key: str | None = None


@dataclass(frozen=True)
class Line:
    """From one point to another, with its name at the first."""

    start: tuple[float, float]
    end: tuple[float, float]
    name: str


def scatter(
    points: Sequence[Point], lines: Sequence[Line], x_name: str, y_name: str, legend: Legend | None = None
) -> Markup:
    """On logarithmic axes that begin and end on powers of ten."""
    xs = _decades([p.x for p in points] + [x for line in lines for x in (line.start[0], line.end[0])])
    ys = _decades([p.y for p in points] + [y for line in lines for y in (line.start[1], line.end[1])])

    def place(x: float, y: float) -> tuple[str, str]:
        return _percent(_share(x, xs)), _percent(1 - _share(y, ys))

    drawn = []
    for power in range(xs[0], xs[1] + 1):
        x, _ = place(10.0**power, 1.0)
        drawn.append(element("line", class_="grid", x1=x, x2=x, y1="0%", y2="100%"))
        drawn.append(element("text", _power(power), x=x, y="100%", dy="16", text_anchor="middle"))
    for power in range(ys[0], ys[1] + 1):
        _, y = place(1.0, 10.0**power)
        drawn.append(element("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
        drawn.append(element("text", _power(power), x="0%", y=y, dx="-6", dy="4", text_anchor="end"))
    for line in lines:
        (x1, y1), (x2, y2) = place(*line.start), place(*line.end)
        drawn.append(element("line", class_="roof", x1=x1, y1=y1, x2=x2, y2=y2))
    for point in points:
        x, y = place(point.x, point.y)
        drawn.append(element("circle", element("title", point.title), class_=point.kind, cx=x, cy=y, r=5,
                             data_key=point.key))  # fmt: skip
    for line in lines:
        x, y = place(*line.start)
        drawn.append(element("text", line.name, class_="named", x=x, y=y, dx="6", dy="-7"))
    drawn.append(element("text", x_name, class_="axis", x="50%", y="100%", dy="34", text_anchor="middle"))
    style = f"height:{HEIGHT}px;padding:16px 14px {BOTTOM}px {LEFT}px"
    plot = element("svg", *drawn, role="img", aria_label=f"{y_name} against {x_name}", width="100%", height="100%")
    return element("div", key_of(legend or {}), element("p", y_name, class_="axis"),
                   element("div", plot, class_="scatter", style=style))  # fmt: skip


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = min(values, default=1.0), max(values, default=1.0)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return first, max(last, first + 1)


def _share(value: float, decades: tuple[int, int]) -> float:
    return (math.log10(value) - decades[0]) / (decades[1] - decades[0])


def _power(power: int) -> str:
    return f"{10.0**power:g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
