#!/usr/bin/env python3
"""Networks of many kinds (torch_architectures.py), from PyTorch to ONNX by both exporters, to Caffe2 and back.

Tabulates how far the forms differ; exits with 1 where one computes something else, or anything but a refusal happens.
"""

import argparse
import io
import logging
import math
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnx
import torch
from torch_architectures import ARCHITECTURES, make, takes_tokens

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_common.files import write_atomically
from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run
from exporters.caffe2_to_onnx import to_onnx
from exporters.onnx_to_caffe2 import convert
from exporters.verification import Sample, compare, make_samples, real_caffe2_is_at_hand, run_net, run_onnx

EXPORTERS = ("torchscript", "dynamo")
FORMS = ("ONNX Runtime", "our runtime", "round trip", "real Caffe2")
OPSETS = {"torchscript": 17, "dynamo": 18}
NEWER_OPSET = 20  # for what PyTorch exports from there on only
TABLE = Path(__file__).resolve().parent.parent / "docs" / "architectures.md"


@dataclass(frozen=True)
class Row:
    """One network by one exporter: largest differences over the largest output by form, or why it is refused."""

    name: str
    exporter: str
    operators: dict[str, int] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    wrong: str = ""
    refusal: str = ""


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    torch.backends.mha.set_fastpath_enabled(False)  # an operator of its own, which no exporter knows
    names = [name for name in ARCHITECTURES if not arguments.only or name in arguments.only]
    jobs = [(name, exporter) for exporter in arguments.exporters for name in names]
    rows: list[Row] = []
    for job in progress(jobs, desc="architectures"):
        rows.append(row := sweep(*job))
        if row.wrong or row.refusal:
            print(f"{row.name} by {row.exporter}: {row.wrong or row.refusal}", flush=True)
        if arguments.output is not None:
            write_atomically(arguments.output, document(rows))
    wrong = sum(bool(row.wrong) for row in rows)
    refused = sum(bool(row.refusal) for row in rows)
    print(f"{len(rows)} exports: {len(rows) - wrong - refused} agree, {refused} refused, {wrong} wrong")
    return int(wrong > 0)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", metavar="NAME", help="of the networks (default: all)")
    parser.add_argument("--exporters", nargs="+", choices=EXPORTERS, default=EXPORTERS)
    parser.add_argument("--output", type=Path, metavar="F.md", help="write the table, say docs/architectures.md")
    return parser.parse_args(argv)


def sweep(name: str, exporter: str) -> Row:
    """Take one network all the way."""
    module, shapes = make(name)
    samples = inputs_of(name, shapes)
    with torch.no_grad():
        expected = [outputs_of(module, sample) for sample in samples]
    try:
        model = export_at_some_opset(module, samples[0], exporter)
    except Exception as error:  # torch's exporters raise whatever they meet
        return Row(name, exporter, refusal=f"PyTorch does not export it ({str(error).strip().splitlines()[0]})")
    try:
        net = convert(model)
    except UnsupportedError as error:
        return Row(name, exporter, refusal=str(error).partition(". Supported are")[0])
    results = {"ONNX Runtime": run_onnx(model, samples), "our runtime": run_net(net, samples)}
    shaped = {key: value.shape for key, value in samples[0].feeds.items()}
    wrong = []
    try:
        results["round trip"] = run_onnx(to_onnx(net, shaped), samples)
    except ModelError as error:
        wrong.append(f"does not come back to ONNX: {error}")
    if real_caffe2_is_at_hand():
        try:
            results["real Caffe2"] = run_net(net, samples, "caffe2")
        except ModelError as error:
            wrong.append(f"does not run in Caffe2: {error}")
    differences = dict.fromkeys(FORMS, math.nan)
    for form, outputs in results.items():
        pairs = [compare(form, *triple) for triple in zip(samples, expected, outputs, strict=True)]
        differences[form] = max(pair.max_difference / max(pair.largest, 1e-30) for pair in pairs)
        wrong += [str(pair) for pair in pairs if not pair.holds]
    operators = dict(Counter(node.type for node in net.operators).most_common())
    return Row(name, exporter, operators, differences, "; ".join(wrong))


def inputs_of(name: str, shapes: Sequence[tuple[int, ...]]) -> list[Sample]:
    named = {f"x{index}": shape for index, shape in enumerate(shapes)}
    dtypes = dict.fromkeys(named, np.dtype(np.int64)) if takes_tokens(name) else None
    return make_samples(named, None, dtypes=dtypes)


def outputs_of(module: torch.nn.Module, sample: Sample) -> dict[str, np.ndarray]:
    made = module(*(torch.from_numpy(value) for value in sample.feeds.values()))
    return {f"y{index}": y.numpy() for index, y in enumerate(made if isinstance(made, tuple) else (made,))}


def export_at_some_opset(module: torch.nn.Module, sample: Sample, exporter: str) -> onnx.ModelProto:
    try:
        return export(module, sample, exporter, OPSETS[exporter])
    except Exception:
        return export(module, sample, exporter, NEWER_OPSET)


def export(module: torch.nn.Module, sample: Sample, exporter: str, opset: int) -> onnx.ModelProto:
    """By one of torch's exporters, quietly."""
    arguments = tuple(torch.from_numpy(value) for value in sample.feeds.values())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        count = len(outputs_of(module, sample))
        options: dict[str, Any] = {
            "input_names": list(sample.feeds),
            "output_names": [f"y{index}" for index in range(count)],
            "opset_version": opset,
        }
        if exporter == "torchscript":
            file = io.BytesIO()
            torch.onnx.export(module, arguments, file, dynamo=False, **options)
            return onnx.load_from_string(file.getvalue())
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(module, arguments, dynamo=True, verbose=False, **options)
        assert program is not None
        return program.model_proto


def document(rows: Sequence[Row]) -> str:
    refused, wrong = (sum(bool(getattr(row, what)) for row in rows) for what in ("refusal", "wrong"))
    lines = [
        "# Networks of many kinds, all the way",
        "",
        "Made by `make architecture-sweep` (`scripts/architecture_sweep.py`): small networks written from their papers",
        f"(`scripts/torch_architectures.py`), torch {torch.__version__.partition('+')[0]}, onnx {onnx.__version__}.",
        "Each goes from PyTorch to ONNX by the exporters that the table names (dynamo is torch.export),",
        "to Caffe2 and back to ONNX. The figures are largest differences from PyTorch over the largest output.",
        "",
        f"{len(rows)} exports: {len(rows) - refused - wrong} agree in every form, {refused} refused, {wrong} wrong.",
        "",
        f"| network | exporter | {' | '.join(FORMS)} | Caffe2 operators |",
        f"|{'---|' * (len(FORMS) + 3)}",
    ]
    for row in sorted(rows, key=lambda row: (row.name, row.exporter)):
        if row.refusal:
            lines.append(f"| {row.name} | {row.exporter} | refused: {row.refusal} |{' |' * len(FORMS)}")
            continue
        figures = ["" if math.isnan(gap) else f"{gap:.1e}" for gap in row.differences.values()]
        operators = ", ".join(f"{count} {kind}" for kind, count in row.operators.items())
        lines.append(f"| {row.name} | {row.exporter} | {' | '.join(figures)} | {operators} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    run(main)
