#!/usr/bin/env python3
"""List the Caffe2 operators that are supported, in Markdown: docs/operators.md."""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands.program import run
from caffe2_models.operators import OPERATORS, Operator

HEAD = """# Operators

What `python scripts/list_operators.py` prints. Every operator has its output shapes and types, its exact
computation, its lowering to ONNX and its cost in one class of `caffe2_models/operators/`. Arguments stand
with Caffe2's defaults, [in brackets] where there is none; those without either must be given; others are
ignored, as Caffe2 ignores them. Operators marked `numpy` have no form in ONNX: they run in `reference` and `caffe2`.
Where inputs differ in what they may hold, it is said for each in turn, the last for all further ones.

A *window* is given as `kernel`, `stride`, `pad`, `dilation`, as their `_h _w` and `_t _l _b _r` forms, or as
the lists `kernels`, `strides`, `pads`, `dilations`; `legacy_pad` 1 (VALID), 2 (SAME) and 3 (Caffe's pooling)
are known, and `global_pooling`. Images are in NCHW order, or in NHWC where `order` says so.
"""

TABLE = "| operator | | arguments | inputs |\n|---|---|---|---|"

# Fields that stand for several arguments, or for none.
SPELLED = {
    "window": "window",
    "place": "`kernel`, `stride`=1, `dilation`=1 or their `_h _w` forms, `pad`=0",
    "adj": "`adj`, `adj_h adj_w` or `adjs`",
    "scalar": "`value`=0, `dtype`",
    "values": "`values`",
    "outputs": None,
    "wiring": "`recurrent_states`, `initial_recurrent_state_ids`, `link_*`, `alias_*`, `timestep`=timestep",
}


def main(argv: list[str]) -> None:
    print(document(), end="")


def document() -> str:
    """The whole page."""
    families: dict[str, list[str]] = {}
    for name, operator in OPERATORS.items():
        families.setdefault(operator.__module__.rpartition(".")[2], []).append(row(name, operator))
    parts = [HEAD]
    for family, rows in families.items():
        parts.append(f"## {family.replace('_', ' ')}\n\n{TABLE}\n" + "\n".join(sorted(rows)) + "\n")
    return "\n".join(parts)


def row(name: str, operator: type[Operator]) -> str:
    each = operator.dtypes if isinstance(operator.dtypes, tuple) else (operator.dtypes,)
    types = ", ".join(" ".join(sorted(dtypes)) if dtypes is not None else "any" for dtypes in each)
    form = "" if operator.is_in_onnx() else "numpy"
    arguments = ", ".join(filter(None, (argument(field) for field in dataclasses.fields(operator))))
    return f"| {name} | {form} | {arguments} | {'quantized' if operator.takes_quantized else types} |"


def argument(field: dataclasses.Field) -> str | None:
    """`name`=default"""
    if field.name in SPELLED:
        return SPELLED[field.name]
    if field.default is dataclasses.MISSING:
        return f"`{field.name}`"
    default = field.default
    if default is None or default in ((), ""):
        return f"[`{field.name}`]"
    if isinstance(default, float):
        default = f"{default:.8g}"
    elif isinstance(default, bool):
        default = int(default)
    return f"`{field.name}`={default}"


if __name__ == "__main__":
    run(main)
