"""Code cells of a notebook as a script."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def script_of(notebook: Path, cells: Sequence[int], before: Mapping[int, str] | None = None, after: str = "") -> str:
    """The code of these cells, by their place in the notebook, in order; lines for IPython itself are left out.

    before: code of our own that stands before a cell; after: at the end.
    """
    sources = ["".join(cell["source"]) for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]]
    parts = []
    for cell in cells:
        parts.append((before or {}).get(cell, ""))
        parts += [line for line in sources[cell].splitlines() if not line.startswith("%")]
    future = [line for line in parts if line.startswith("from __future__")]
    return "\n".join([*future, *(line for line in parts if line not in future), after])
