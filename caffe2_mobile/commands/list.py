"""List the zoo: what each model costs, counted on the built model, beside what was published of it.

Parameters and multiply-adds follow the counting rule of the table that the model stands in; a * marks a
count that differs from the published figure at its printed precision.
"""

import argparse
import csv
import io
import sys

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from caffe2_common.published import TABLES, Published, agrees, as_printed, published_table
from caffe2_mobile.commands.program import ArgumentParser
from mobile_cv.model_zoo import get_architecture, list_models
from mobile_cv.model_zoo.count import RULES, count, rule_of
from mobile_cv.model_zoo.registry import canonical_name

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


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="*", default=["*"], help="names, with wildcards (default: all)")
    parser.add_argument("--published", action="store_true", help="only lines of the published tables")
    parser.add_argument("--pretrained", action="store_true", help="only models with published weights")
    parser.add_argument("--names", action="store_true", help="only the names, aliases too, one per line")
    parser.add_argument("--format", choices=list(FORMATS), default="text")
    args = parser.parse_args(argv)
    names = select(args.pattern, args.pretrained)
    if args.names:
        print("\n".join(names))
    else:
        names = list(dict.fromkeys(canonical_name(name) for name in names))
        table = rows(names, args.published)
        if args.published and args.pattern == ["*"]:
            table += figures_only()
        sys.stdout.write(FORMATS[args.format](table))
    return 0


def select(patterns: list[str], pretrained: bool) -> list[str]:
    """Names that match any of the patterns, each once; raises ModelError for a pattern that matches none."""
    found: dict[str, None] = {}
    for pattern in patterns:
        names = list_models(pattern, pretrained)
        if not names and not any(letter in pattern for letter in "*?["):
            names = [pattern] if canonical_name(pattern) and not pretrained else []
        if not names:
            raise ModelError(f"no model matches {pattern!r}")
        found.update(dict.fromkeys(names))
    return list(found)


def rows(names: list[str], only_published: bool) -> list[dict[str, str]]:
    """A row per published line of each model, and one for each model that stands in no table."""
    lines: dict[str, list[Published | None]] = {name: [] for name in names}
    for line in published_table():
        if line.model in lines:
            lines[line.model].append(line)
    pretrained = set(list_models(pretrained=True))
    result = []
    for name, of_model in progress(lines.items(), desc="counting"):
        for line in of_model or ([] if only_published else [None]):
            result.append({**row(name, line), "pretrained": "yes" if name in pretrained else "no"})
    return result


def figures_only() -> list[dict[str, str]]:
    """A row per published line whose network was never made public."""
    return [
        {
            **dict.fromkeys(COLUMNS, ""),
            "model": "(not public)",
            "params_m_published": line.params_m,
            "madds_m_published": line.madds_m,
            "published_name": line.name,
            **figures(line),
        }
        for line in published_table()
        if not line.model
    ]


def row(name: str, line: Published | None) -> dict[str, str]:
    """The values of COLUMNS, as text."""
    architecture = get_architecture(name)
    rule = line.rule if line else rule_of(architecture)
    params, madds = (figure / 1e6 for figure in RULES[rule](count(architecture)))
    params_published, madds_published = (line.params_m, line.madds_m) if line else ("", "")
    return {
        "model": name,
        "img_size": str(architecture.size),
        "params_m": _counted(params, params_published, 2),
        "params_m_published": params_published,
        "madds_m": _counted(madds, madds_published, 1),
        "madds_m_published": madds_published,
        "interpolation": architecture.interpolation,
        "crop_pct": f"{architecture.crop_pct:.4g}",
        "rule": rule,
        "published_name": line.name if line else "",
        **(figures(line) if line else dict.fromkeys(FIGURES, "")),
    }


FIGURES = ("top1", "top5", "top3", "latency_ms", "preprocessing", "table")  # that only the published line has


def figures(line: Published) -> dict[str, str]:
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


def to_csv(table: list[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue()


def to_markdown(table: list[dict[str, str]]) -> str:
    shown, lines = _shown(table)
    rule = ["---" if name in _TEXT else "---:" for name in shown]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [lines[0], rule, *lines[1:]])


def to_text(table: list[dict[str, str]]) -> str:
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


_TEXT = {"model", "table", "published_name"}


def _shown(table: list[dict[str, str]]) -> tuple[list[str], list[list[str]]]:
    """The columns that have a title and any value, and the lines of cells, titles first."""
    shown = [name for name, title in COLUMNS.items() if title and any(row[name] for row in table)]
    return shown, [[COLUMNS[name] for name in shown], *([row[name] for name in shown] for row in table)]


FORMATS = {"text": to_text, "csv": to_csv, "markdown": to_markdown}
