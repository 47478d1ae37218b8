"""Where the operators of a net stand in its picture: layer by layer from top to bottom, deterministic.

The usual three steps (Sugiyama, Tagawa, Toda 1981): ranks by the longest path, order within a rank by barycentres,
then columns, each as near to its neighbours as its place in the row lets it be. Edges over several ranks go through
places of their own.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 176, 40  # of a node, pixels
COLUMN, RANK = 196, 64  # from one to the next
LANE = 22  # column of an edge that passes by
SWEEPS = 6
MAX_PASSED = 40_000  # places of passing edges; a net with more has edges that pass behind nodes


@dataclass
class Layout:
    """Centres of the nodes, and the points that each edge goes through, pixels; the picture's size.

    Nodes are numbered from 0; edges are in the order in which they were given.
    """

    nodes: list[tuple[float, float]]
    edges: list[list[tuple[float, float]]]
    width: float
    height: float


@dataclass
class _Graph:
    """Nodes, and behind them the places of passing edges, with who stands above and below each."""

    rank: list[int]
    above: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    below: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    rows: list[list[int]] = field(default_factory=list)


def lay_out(count: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Place `count` nodes whose edges (from, to) lead to later ones."""
    ranks = longest_path_ranks(count, edges)
    graph = _Graph(list(ranks))
    spans = sum(max(ranks[to] - ranks[source] - 1, 0) for source, to in set(edges))
    ways = _insert_passing(graph, edges, passes=spans <= MAX_PASSED)
    graph.rows = _rows(graph.rank)
    order_rows(graph.rows, graph.above, graph.below)
    columns = _columns(graph, count)
    left = min((columns[v] - WIDTH / 2 for v in range(count)), default=0.0)
    xs = [x - left + COLUMN / 2 - WIDTH / 2 for x in columns]
    ys = [rank * RANK + RANK / 2 for rank in graph.rank]
    nodes = [(xs[v], ys[v]) for v in range(count)]
    lines = [[(xs[v], ys[v]) for v in way] for way in ways]
    width = max([x + WIDTH / 2 for x, _ in nodes] + [x for line in lines for x, _ in line] + [0.0])
    return Layout(nodes, lines, width + COLUMN / 2 - WIDTH / 2, (max(graph.rank, default=-1) + 1) * RANK)


def longest_path_ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Rows from the top; a node without inputs stands right above the first that reads it."""
    before: dict[int, list[int]] = defaultdict(list)
    after: dict[int, list[int]] = defaultdict(list)
    for source, to in edges:
        before[to].append(source)
        after[source].append(to)
    ranks = [0] * count
    for node in range(count):
        ranks[node] = max((ranks[source] + 1 for source in before[node]), default=0)
    for node in reversed(range(count)):
        if not before[node] and after[node]:
            ranks[node] = min(ranks[to] for to in after[node]) - 1
    return ranks


def _insert_passing(graph: _Graph, edges: Sequence[tuple[int, int]], passes: bool) -> list[list[int]]:
    """The nodes that each edge goes through; edges between the same two go the same way."""
    ways: dict[tuple[int, int], list[int]] = {}
    for source, to in edges:
        if (source, to) in ways:
            continue
        way = [source]
        for rank in range(graph.rank[source] + 1, graph.rank[to]) if passes else ():
            graph.rank.append(rank)
            way.append(len(graph.rank) - 1)
        way.append(to)
        ways[source, to] = way
        for high, low in itertools.pairwise(way):
            if graph.rank[low] == graph.rank[high] + 1:
                graph.above[low].append(high)
                graph.below[high].append(low)
    return [ways[edge] for edge in edges]


def _rows(ranks: Sequence[int]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for node, rank in enumerate(ranks):
        rows[rank].append(node)
    return rows


def order_rows(rows: list[list[int]], above: dict[int, list[int]], below: dict[int, list[int]]) -> None:
    """Sort each row by the mean place of its nodes' neighbours, downwards and upwards in turn."""
    place: dict[Hashable, float] = {node: index for row in rows for index, node in enumerate(row)}
    for sweep in range(SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            if len(row) < 2:
                continue
            means = {v: _mean([place[u] for u in neighbours[v]], place[v]) for v in row}
            row.sort(key=lambda v: means[v])
            place.update((node, float(index)) for index, node in enumerate(row))


def _columns(graph: _Graph, count: int) -> list[float]:
    """The nodes' x: each row moves to the mean of its neighbours' as far as its nodes leave each other room."""
    x = [0.0] * len(graph.rank)
    for row in graph.rows:
        for left, node in zip([None, *row], row, strict=False):
            x[node] = 0.0 if left is None else x[left] + _room(left, node, count)
    for sweep in range(2 * SWEEPS):
        downwards = sweep % 2 == 0
        for row in graph.rows if downwards else reversed(graph.rows):
            wanted, weights = [], []
            for node in row:
                near = graph.above[node] if downwards else graph.below[node]
                both = near or [*graph.above[node], *graph.below[node]]
                if node < count:  # what passes by makes room for operators, and stays straight itself
                    both = [u for u in both if u < count] or both
                wanted.append(_mean([x[u] for u in both], x[node]))
                weights.append(1e-3 if node >= count else 1.0 if near else 0.1)
            offsets = [0.0]
            for left, right in itertools.pairwise(row):
                offsets.append(offsets[-1] + _room(left, right, count))
            for node, position in zip(row, spaced(wanted, offsets, weights), strict=True):
                x[node] = position
    return x


def _room(left: int, right: int, count: int) -> float:
    return (_width(left, count) + _width(right, count)) / 2


def _width(node: int, count: int) -> float:
    return COLUMN if node < count else LANE


def spaced(wanted: Sequence[float], offsets: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The positions nearest to the wanted ones (least squares) whose distances are at least those of the offsets.

    Pool adjacent violators: with the offsets taken off, what is left has only to be non-decreasing.
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for target, offset, weight in zip(wanted, offsets, weights, strict=True):
        mean, total, members = target - offset, weight, 1
        while pools and pools[-1][0] >= mean:
            other, its_weight, its_members = pools.pop()
            mean = (mean * total + other * its_weight) / (total + its_weight)
            total, members = total + its_weight, members + its_members
        pools.append((mean, total, members))
    levels = [mean for mean, _, members in pools for _ in range(members)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
