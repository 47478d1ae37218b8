"""Tables that sort by any column, with bars in their cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from caffe2_common.pages.markup import Child, Markup, element

LEAST_SHARE = 0.005  # of which a bar is drawn
PRECISION = 0.005  # of a number that is read from a cell's text


@dataclass(frozen=True)
class Column:
    """A heading; note explains it. Numbers stand flush right, and sort from the largest down."""

    title: str
    note: str = ""
    is_number: bool = True


@dataclass(frozen=True)
class Cell:
    """Text, the number that it sorts by, and a bar of this share of the cell and kind of colour."""

    text: Child = ""
    value: float | None = None
    share: float | None = None
    kind: str = "main"


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell | str]],
    keys: Sequence[str] = (),
    titles: Sequence[str] = (),
    label: str = "",
) -> Markup:
    """Rows in this order until a heading is pressed. keys, titles: of each row, where rows mean something elsewhere."""
    headings = [
        element("th", element("button", column.title, type="button"), title=column.note or None, scope="col",
                class_="n" if column.is_number else None)
        for column in columns
    ]  # fmt: skip
    lines = []
    for number, row in enumerate(rows):
        cells = (_cell(cell, column, first=not place) for place, (cell, column) in enumerate(zip(row, columns)))  # noqa: B905
        key, title = (keys[number] if keys else None), (titles[number] if titles else None)
        lines.append(element("tr", *cells, data_key=key, title=title, tabindex="-1" if keys else None))
    head, body = element("thead", element("tr", *headings)), element("tbody", *lines)
    return element("div", element("table", head, body), class_="scrolls", tabindex="0", role="region",
                   aria_label=label or "table")  # fmt: skip


def _cell(cell: Cell | str, column: Column, first: bool) -> Markup:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    value = None if cell.value is None or _says(cell.text, cell.value) else f"{cell.value:.6g}"
    bar = None
    if cell.share is not None and cell.share >= LEAST_SHARE:
        bar = element("i", class_=f"bar {cell.kind}", style=f"width:{100 * cell.share:.1f}%")
    tag = "th" if first else "td"
    return element(tag, cell.text, bar, data_v=value, class_="n" if column.is_number else None)


def _says(text: Child, value: float) -> bool:
    """Whether a cell's text tells its number well enough to sort by."""
    try:
        return math.isclose(float(str(text).replace(",", "")), value, rel_tol=PRECISION)
    except ValueError:
        return False
