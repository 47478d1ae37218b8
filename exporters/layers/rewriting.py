"""Rewrites of a graph: rules, each a pattern, a check and a rewrite, and their repetition until none applies."""

from collections.abc import Sequence

from exporters.layers.graph import Blob, Graph, Layer


class View:
    """Who writes and who reads each blob of a graph as it stands."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self._producers, self._consumers = graph.producers(), graph.consumers()

    def writer(self, blob: Blob) -> Layer | None:
        return self._producers.get(blob)

    def readers(self, blob: Blob) -> list[Layer | None]:
        """The layers that read it, and None where a user does."""
        return self._consumers.get(blob, [])

    def is_read_once(self, blob: Blob) -> bool:
        """Whether one layer reads it, once, and no user does."""
        readers = self._consumers.get(blob, [])
        return len(readers) == 1 and readers[0] is not None and readers[0].inputs.count(blob) == 1

    def sole_writer(self, blob: Blob) -> Layer | None:
        """The layer that makes a blob for one reader, unclamped: what the reader computes it can take over."""
        layer = self._producers.get(blob)
        return layer if layer is not None and self.is_read_once(blob) and not layer.is_clamped else None


class Rule:
    """One rewrite that leaves what the graph computes as it is.

    A rule's text says what it rewrites to what, what that requires and what holds afterwards.
    """

    def pattern(self, view: View, layer: Layer) -> tuple | None:
        """What the pattern binds, with `layer` as its last one, or None where it is not there."""
        raise NotImplementedError

    def check(self, view: View, *match) -> bool:
        """Whether the rewrite of what was found computes the same."""
        return True

    def rewrite(self, graph: Graph, *match) -> None:
        """Change the graph."""
        raise NotImplementedError


def rewrite(graph: Graph, rules: Sequence[Rule]) -> None:
    """Apply rules in their order, again and again, until none applies; layers without readers go."""
    graph.remove_dead()
    while any(apply(graph, rule) for rule in rules):
        pass


def apply(graph: Graph, rule: Rule) -> bool:
    """Apply one rule wherever it applies; returns whether it did."""
    applied, view, live = False, View(graph), set(graph.layers)
    for layer in list(graph.layers):
        match = rule.pattern(view, layer) if layer in live else None
        if match is not None and rule.check(view, *match):
            rule.rewrite(graph, *match)
            graph.remove_dead()
            applied, view, live = True, View(graph), set(graph.layers)
    return applied
