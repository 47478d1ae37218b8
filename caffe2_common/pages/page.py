"""A page: its sections under one title, style and script within."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffe2_common.pages.colours import style_sheet
from caffe2_common.pages.markup import Markup, element, join

HERE = Path(__file__).parent
MANY = 3  # sections, from which a page lists them first


@dataclass(frozen=True)
class Section:
    """A part of a page under its heading. key: its anchor, and its class in style sheets."""

    key: str
    title: str
    content: Markup


def notes(lines: Iterable[str], class_: str | None = None) -> Markup:
    """A list of lines of text."""
    return element("ul", *(element("li", line) for line in lines), class_=class_)


def render(
    title: str,
    sections: Sequence[Section],
    heading: Markup | None = None,
    data: Any = None,
    style: str = "",
    script: str = "",
) -> str:
    """The page's file. heading: what stands under the title.

    data: JSON values that scripts find in the element `data`. style, script: what the page needs beyond tables and
    charts. No other script runs in it, whatever a name may hold, nor is anything loaded: the page's own policy says so.
    """
    code = f"{_asset('page.js')}\n{script}"
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    links = [element("a", section.title, href=f"#{section.key}") for section in sections]
    body = [
        element("header", element("h1", title), heading),
        element("nav", *links, aria_label="sections") if len(links) >= MANY else None,
        element("main", *(_section(section) for section in sections)),
        element("script", Markup(to_script(data)), type="application/json", id="data") if data is not None else None,
        element("script", Markup(code)),
    ]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("title", title),
        element("style", Markup(_style() + style)),
    ]
    content = join([element("head", *head), element("body", *body)])
    page = f"<!DOCTYPE html>\n{element('html', content, lang='en')}\n"
    return page.encode("utf-8", "replace").decode("utf-8")  # a path may hold what is no text


def to_script(data: Any) -> str:
    """JSON that no HTML parser ends early, whatever its strings hold."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _section(section: Section) -> Markup:
    return element("section", element("h2", section.title), section.content, id=section.key, class_=section.key)


def _style() -> str:
    return _asset("page.css") + style_sheet()


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
