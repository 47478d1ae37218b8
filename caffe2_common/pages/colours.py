"""The colours of pages and plots: a hue means the same in all of them, in light and in dark."""

from __future__ import annotations

from typing import Any

# kind -> (on a light ground, on a dark one); the pages' style sheet names them --KIND
COLOURS = {
    "main": ("#2f6db5", "#6ea8e8"),
    "other": ("#9db7d3", "#45617f"),
    "before": ("#b9bfc7", "#5d6773"),
    "after": ("#2f6db5", "#6ea8e8"),
    "exact": ("#2f6db5", "#6ea8e8"),
    "substituted": ("#3a938c", "#5fbdb5"),
    "interpolated": ("#c79a06", "#e3bf45"),
    "estimated": ("#d9701b", "#f0944d"),
    "missing": ("#c93c44", "#f0757b"),
    "measured": ("#2f6db5", "#6ea8e8"),
    "conv": ("#2f6db5", "#6ea8e8"),
    "depthwise": ("#d9701b", "#f0944d"),
    "float": ("#c93c44", "#f0757b"),
    "rest": ("#77808c", "#98a2ae"),
}

INK, MUTED, GRID = "#1c2330", "#5b6573", "#d9dee5"  # text, lesser text, lines; on a light ground


def colour(kind: str) -> str:
    """On a light ground, as plots have it."""
    return COLOURS[kind][0]


def plot_style() -> Any:
    """matplotlib's settings (a dict for `rc_context`) that make a plot look like the pages."""
    return {
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": GRID,
        "axes.titlecolor": INK,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "legend.frameon": False,
    }


def style_sheet() -> str:
    """The colours as CSS custom properties, and as the ground of bars and keys."""
    light, dark = (f":root {{ {_variables(is_dark)} }}" for is_dark in (False, True))
    rules = "\n".join(f".bar.{kind}, .key.{kind} {{ background: var(--{kind}); }}" for kind in COLOURS)
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{ {dark} }}\n{rules}\n"


def _variables(dark: bool) -> str:
    return " ".join(f"--{kind}: {pair[dark]};" for kind, pair in COLOURS.items())
