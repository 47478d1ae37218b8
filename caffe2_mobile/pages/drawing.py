"""The picture of a net's graph: an SVG whose operators carry their rows' places, and how hot they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from caffe2_common.pages import Markup, element
from caffe2_mobile.pages.layout import HEIGHT, WIDTH, Layout, lay_out
from caffe2_mobile.pages.operators import Row

PADDING = 10  # of a block's frame
SHOWN = 24  # characters of a name in a node


@dataclass(frozen=True)
class _Node:
    """What stands in the picture: an operator (its row), or one of the net's inputs or outputs."""

    title: str
    detail: str
    kind: str
    row: Row | None = None


def draw(rows: Sequence[Row], inputs: Mapping[str, str], outputs: Sequence[str], heat: Mapping[int, str]) -> Markup:
    """inputs: name -> shape as text; heat: place -> the style that says how hot the operator is, by each measure."""
    nodes = [_Node(name, shape, "input") for name, shape in inputs.items()]
    first = len(nodes)
    nodes += [_Node(row.type, _detail(row), row.kind, row) for row in rows]
    edges, names = _edges(rows, list(inputs), first)
    writers = {blob.name: row.place for row in rows if row.parent is None for blob in row.outputs}
    for name in outputs:
        if name in writers:
            edges.append((first + writers[name], len(nodes)))
            names.append(name)
            nodes.append(_Node(name, "", "output"))
    layout = lay_out(len(nodes), edges)
    drawn = [*_frames(rows, layout, first), *_lines(layout, edges, names, first)]
    drawn += [_node(node, layout.nodes[number], heat) for number, node in enumerate(nodes)]
    return element("svg", *drawn, viewBox=f"0 0 {layout.width:.0f} {layout.height:.0f}", width=f"{layout.width:.0f}",
                   height=f"{layout.height:.0f}", role="group", aria_label="graph of the net")  # fmt: skip


def _detail(row: Row) -> str:
    shape = row.outputs[0].shape if row.outputs else ""
    group = " depthwise" if row.is_depthwise else ""
    return f"{shape}{group}"


def _edges(rows: Sequence[Row], inputs: list[str], first: int) -> tuple[list[tuple[int, int]], list[str]]:
    """(from, to) as numbers of nodes, and the blobs' names; what ends within a net leads to the operator around it."""
    edges: dict[tuple[int, int], str] = {}
    leads_on = set()
    for row in rows:
        for blob in row.inputs:
            if blob.source is not None and blob.source < row.place:
                edges.setdefault((first + blob.source, first + row.place), blob.name)
                leads_on.add(blob.source)
            elif blob.source is None and blob.name in inputs and row.parent is None:
                edges.setdefault((inputs.index(blob.name), first + row.place), blob.name)
    for row in rows:
        if row.parent is not None and row.place not in leads_on:
            edges.setdefault((first + row.place, first + row.parent), row.output)
    return list(edges), list(edges.values())


def _frames(rows: Sequence[Row], layout: Layout, first: int) -> list[Markup]:
    """A frame around every run of operators of one block, with its name."""
    boxes: list[tuple[str, list[tuple[float, float]]]] = []
    for row in rows:
        if boxes and boxes[-1][0] == row.block:
            boxes[-1][1].append(layout.nodes[first + row.place])
        else:
            boxes.append((row.block, [layout.nodes[first + row.place]]))
    frames = []
    for name, centres in boxes:
        if not name:
            continue
        left, right = (f(x for x, _ in centres) for f in (min, max))
        top, bottom = (f(y for _, y in centres) for f in (min, max))
        x, y = left - WIDTH / 2 - PADDING, top - HEIGHT / 2 - PADDING
        box = element("rect", x=f"{x:.0f}", y=f"{y:.0f}", width=f"{right - left + WIDTH + 2 * PADDING:.0f}",
                      height=f"{bottom - top + HEIGHT + 2 * PADDING:.0f}", rx=8)  # fmt: skip
        label = element("text", _short(name), x=f"{x + 6:.0f}", y=f"{y + 9:.0f}")
        title = element("title", name) if len(name) > SHOWN else None
        frames.append(element("g", box, label, title, class_="frame"))
    return frames


def _lines(layout: Layout, edges: Sequence[tuple[int, int]], names: Sequence[str], first: int) -> list[Markup]:
    lines = []
    for (source, to), name, points in zip(edges, names, layout.edges, strict=True):
        lines.append(
            element("path", element("title", name), d=_path(points), data_from=source - first, data_to=to - first)
        )
    return lines


def _path(points: Sequence[tuple[float, float]]) -> str:
    """From the lower edge of the first node to the upper one of the last, vertical at every point between."""
    (x, y), *others = points
    y += HEIGHT / 2
    words = [f"M{x:.0f} {y:.0f}"]
    for number, (x2, y2) in enumerate(others):
        if number == len(others) - 1:
            y2 -= HEIGHT / 2
        if round(x) == round(x2):
            words.append(f"V{y2:.0f}")
        else:
            middle = (y + y2) / 2
            words.append(f"C{x:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2:.0f}")
        x, y = x2, y2
    return "".join(words)


def _node(node: _Node, centre: tuple[float, float], heat: Mapping[int, str]) -> Markup:
    x, y = centre[0] - WIDTH / 2, centre[1] - HEIGHT / 2
    box = element("rect", width=WIDTH, height=HEIGHT, rx=HEIGHT // 2 if node.row is None else 6)
    texts = [element("text", _short(node.title), x=12, y=17 if node.detail else 25)]
    if node.detail:
        texts.append(element("text", _short(node.detail), x=12, y=32, class_="detail"))
    if node.row is None:
        return element("g", box, *texts, class_=node.kind, transform=f"translate({x:.0f} {y:.0f})")
    stripe = element("rect", width=5, height=HEIGHT, rx=2, class_=f"stripe {node.kind}")
    name = f"{node.row.label} {node.row.type} {node.row.output}"
    return element("g", box, stripe, *texts, element("title", name), class_="operator", tabindex="-1", role="button",
                   data_key=node.row.place, style=heat.get(node.row.place),
                   transform=f"translate({x:.0f} {y:.0f})")  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
