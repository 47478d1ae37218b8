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
ignored, as Caffe2 ignores them. Operators marked `numpy` have no form in ONNX: all
runtimes but `caffe2` compute them as `reference` does. Where inputs differ in what they may hold, it is said for each
in turn, the last for all further ones.

A *window* is given as `kernel`, `stride`, `pad`, `dilation`, as their `_h _w` and `_t _l _b _r` forms, or as
the lists `kernels`, `strides`, `pads`, `dilations`; `legacy_pad` 1 (VALID), 2 (SAME) and 3 (Caffe's pooling)
are known, and `global_pooling`. Images are in NCHW order, or in NHWC where `order` says so.

`If` becomes ONNX's `If` where its nets leave what others read in one form, or the net that is chosen where the
condition is known; `While` becomes its `Loop` where no round changes the form of what the next one reads. A loop
gives up after 10,000 rounds, and takes none within it; of its cost, one round is counted. `GenerateProposals`
becomes `TopK`, arithmetic and `NonMaxSuppression`, `BoxWithNMSLimit` the latter, then `TopK` for an image's limit: the
same boxes in the same order, but where an overlap differs from the threshold by a last bit, and where scores are equal,
of which ONNX takes the first first. ONNX knows no soft suppression and no rotated boxes: such are refused. That is for
files: all runtimes here compute these operators themselves.
`RecurrentNetwork` becomes a `Loop` whose rounds are the steps of its net, of any operators that have a form in ONNX;
where the step net sees no state as a whole and leaves its inputs as they are, that is one for sequences of any length.
Steps of a state that nothing has written are zeros; in Caffe2 they are what memory happens to hold.

## Equal to the last bit, and not

Int8 operators give Caffe2's bytes. Sums of float32 products (convolutions, FC, matrix products) are added up in Caffe2
by MKL, in an order that depends on the processor and on the number of threads: two machines with Caffe2 differ in the
last bits. Most results do not care. Where a net ranks scores that are equal but for a last bit, boxes change
places, and where it rounds to bytes, as style transfer's last operator does, one byte in thousands may be the next.

`reference` therefore has an order of its own, the same everywhere (`operators/products.py`): that of MKL on a processor
that it does not know (any but Intel's), where it adds up one rounded product after another. What a file's
`engine` says counts: NNPACK's convolutions of one tap, or with a stride, are fused multiply-adds in the same
order, `DEPTHWISE_3x3` is Winograd's F(2 x 2, 3 x 3), both equal to Caffe2's to the last bit; NNPACK's
other transforms (Winograd's of 8 x 8, Fourier's) are summed as if it were not named. `FC` is summed in float64, and
`AveragePool` in the order of Eigen's vectors of four. MKL's blocks of 112 products and what it does at the edge of a
matrix, which depends on the number of threads, are not imitated. Two records that real Caffe2s of an AMD and an Intel
processor disagree about, boxes of a Mask R-CNN2Go in float32 and bytes of a style transfer net, come out as on AMD's.

`exact` computes the same, images of few channels row by row. `auto` takes it for float32 nets that rank or round:
`onnxruntime` is up to four times as fast there, and finds other boxes where scores are equal but for a last bit.

Equal scores come in the order of libstdc++'s `std::sort` and `std::partial_sort`, which Caffe2 calls and
which are not stable: it follows from the algorithm, and is the same here
(`caffe2_models/detection/ordering.py`). What is no number has no place in that order; here it counts as
the lowest. `MaxPool` keeps it or passes it over as Caffe2 does (`operators/largest.py`); `onnxruntime`'s has its own
way.
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
    "engine": None,
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
