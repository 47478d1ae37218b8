"""The zoo: what each model costs, counted on the built model, beside what was published of it."""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.extras import explaining_extras
from caffe2_common.files import write_atomically
from caffe2_common.progress import progress
from caffe2_common.published import TABLES, Published, agrees, as_printed, published_table
from caffe2_common.sizes import size_text

Rows = Sequence[dict[str, str]]

# column -> its title in text and Markdown ("" for CSV alone)
COLUMNS = {
    "model": "model",
    "img_size": "size",
    "params_m": "params (M)",
    "params_m_published": "published",
    "madds_m": "MAdds (M)",
    "madds_m_published": "published",
    "top1": "top-1",
    "top5": "top-5",
    "top3": "",
    "latency_ms": "S8 (ms)",
    "interpolation": "",
    "crop_pct": "",
    "preprocessing": "preprocessing",
    "rule": "",
    "table": "table",
    "published_name": "named there",
    "pretrained": "",
}


FIGURES = ("top1", "top5", "top3", "latency_ms", "preprocessing", "table")  # that only the published line has
_TEXT = {"model", "table", "published_name"}  # aligned to the left


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Which models. pretrained: only those with published weights; published: only lines of the published tables."""

    pretrained: bool = False
    published: bool = False


@dataclass(frozen=True)
class ModelList:
    """Models of the zoo by name, aliases too. Printed, they are counted, which takes a moment for the whole zoo."""

    names: tuple[str, ...]
    only_published: bool = False
    figures_only: bool = False  # whether lines of networks that were never made public come too

    @functools.cached_property
    @explaining_extras()
    def rows(self) -> list[dict[str, str]]:
        """The values of COLUMNS, as text: a row per published line of each model, one for a model without any.

        Parameters and multiply-adds follow the counting rule of the table that the model stands in; a * marks a count
        that differs from the published figure at its printed precision.
        """
        from mobile_cv.model_zoo.registry import canonical_name

        own = dict.fromkeys(canonical_name(name) or name for name in self.names)
        return _count(list(own), self.only_published) + (_figures_only() if self.figures_only else [])

    def __str__(self) -> str:
        return self.to_text().removesuffix("\n")

    def to_text(self) -> str:
        """A table for the eye."""
        return _to_text(self.rows)

    def to_csv(self) -> str:
        """All columns."""
        return _to_csv(self.rows)

    def to_markdown(self) -> str:
        """As a Markdown table."""
        return _to_markdown(self.rows)

    def save(self, path: str | os.PathLike[str]) -> None:
        """In the form that the name ends in: .txt, .csv or .md; raises ModelError for another."""
        forms: dict[str, Callable[[], str]] = {".txt": self.to_text, ".csv": self.to_csv, ".md": self.to_markdown}
        if Path(path).suffix not in forms:
            raise ModelError(f"{os.fspath(path)}: expected a name that ends in {', '.join(forms)}")
        write_atomically(path, forms[Path(path).suffix]())


@explaining_extras()
def list_models(patterns: str | Sequence[str] = "*", options: ListOptions | None = None) -> ModelList:
    """The models whose names match any of the patterns (with wildcards), each once.

    Raises ModelError for a pattern that matches none, and where PyTorch is not installed.
    """
    from mobile_cv import model_zoo
    from mobile_cv.model_zoo.registry import canonical_name

    options = options or ListOptions()
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    found: dict[str, None] = {}
    for pattern in patterns:
        names = model_zoo.list_models(pattern, options.pretrained)
        if not names and not any(letter in pattern for letter in "*?["):
            names = [pattern] if canonical_name(pattern) and not options.pretrained else []
        if not names:
            raise ModelError(f"no model matches {pattern!r}")
        found.update(dict.fromkeys(names))
    return ModelList(tuple(found), options.published, options.published and patterns == ["*"])


def _count(names: list[str], only_published: bool) -> list[dict[str, str]]:
    """A row per published line of each model, and one for each model that stands in no table."""
    from mobile_cv import model_zoo

    lines: dict[str, list[Published | None]] = {name: [] for name in names}
    for line in published_table():
        if line.model in lines:
            lines[line.model].append(line)
    pretrained = set(model_zoo.list_models(pretrained=True))
    result = []
    for name, of_model in progress(lines.items(), desc="counting"):
        for line in of_model or ([] if only_published else [None]):
            result.append({**_row(name, line), "pretrained": "yes" if name in pretrained else "no"})
    return result


def _figures_only() -> list[dict[str, str]]:
    """A row per published line whose network was never made public."""
    return [
        {
            **dict.fromkeys(COLUMNS, ""),
            "model": "(not public)",
            "params_m_published": line.params_m,
            "madds_m_published": line.madds_m,
            "published_name": line.name,
            **_figures(line),
        }
        for line in published_table()
        if not line.model
    ]


def _row(name: str, line: Published | None) -> dict[str, str]:
    """The values of COLUMNS, as text."""
    from mobile_cv.model_zoo import get_architecture
    from mobile_cv.model_zoo.count import RULES, count, rule_of

    architecture = get_architecture(name)
    rule = line.rule if line else rule_of(architecture)
    params, madds = (figure / 1e6 for figure in RULES[rule](count(architecture)))
    params_published, madds_published = (line.params_m, line.madds_m) if line else ("", "")
    return {
        "model": name,
        "img_size": size_text(architecture.size),
        "params_m": _counted(params, params_published, 2),
        "params_m_published": params_published,
        "madds_m": _counted(madds, madds_published, 1),
        "madds_m_published": madds_published,
        "interpolation": architecture.interpolation,
        "crop_pct": f"{architecture.crop_pct:.4g}",
        "rule": rule,
        "published_name": line.name if line else "",
        **(_figures(line) if line else dict.fromkeys(FIGURES, "")),
    }


def _figures(line: Published) -> dict[str, str]:
    """The values of FIGURES, as text."""
    numbers = {name: getattr(line, name) for name in ("top1", "top5", "top3", "latency_ms")}
    rules = line.preprocessing
    return {
        **{name: "" if number is None else str(number) for name, number in numbers.items()},
        "preprocessing": f"tensorflow {rules.interpolation}" if rules.tf_preprocessing else "",
        "table": TABLES[line.table],
    }


def _counted(value: float, published: str, decimals: int) -> str:
    """The count as precise as the published figure, with a star where the two differ."""
    differs = published and not agrees(published, value)
    return as_printed(published, value, decimals) + ("*" if differs else "")


def _to_csv(table: Rows) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue()


def _to_markdown(table: Rows) -> str:
    shown, lines = _shown(table)
    rule = ["---" if name in _TEXT else "---:" for name in shown]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [lines[0], rule, *lines[1:]])


def _to_text(table: Rows) -> str:
    shown, lines = _shown(table)
    widths = [max(len(cells[index]) for cells in lines) for index in range(len(shown))]
    text = ""
    for cells in lines:
        padded = [
            cell.ljust(width) if name in _TEXT else cell.rjust(width)
            for name, cell, width in zip(shown, cells, widths, strict=True)
        ]
        text += "  ".join(padded).rstrip() + "\n"
    return text


def _shown(table: Rows) -> tuple[list[str], list[list[str]]]:
    """The columns that have a title and any value, and the lines of cells, titles first."""
    shown = [name for name, title in COLUMNS.items() if title and any(row[name] for row in table)]
    return shown, [[COLUMNS[name] for name in shown], *([row[name] for name in shown] for row in table)]
