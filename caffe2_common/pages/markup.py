"""HTML from Python values: whatever is not markup already is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = {"br", "img", "input", "meta"}  # elements without content, and so without an end
SHAPES = {"circle", "line", "path", "rect"}  # elements of SVG, which may end where they begin


class Markup(str):
    """HTML, as opposed to text that looks like it."""


Child = Markup | str | int | None


def element(tag: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """`<tag attributes>children</tag>`; children that are no Markup are escaped, those that are None left out.

    An attribute is named as in Python: `class_` for class, `data_id` for data-id. True stands for one without a
    value; None and False for one that is not there.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        words.append(name if value is True else f'{name}="{html.escape(str(value))}"')
    if tag in SHAPES and not children:
        return Markup(f"<{' '.join(words)} />")
    start = f"<{' '.join(words)}>"
    return Markup(start if tag in VOID else f"{start}{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Markup:
    """One after the other, escaped where they are no markup."""
    kept = (child for child in children if child is not None)
    return Markup("".join(child if isinstance(child, Markup) else html.escape(str(child)) for child in kept))
