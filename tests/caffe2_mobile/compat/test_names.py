"""The names that docs/caffe2_compat.md promises, and those that old scripts call, are there."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

HOME = "caffe2_mobile.compat"

# How scripts call modules -> where they are.
PREFIXES = {
    "caffe2_pb2": "proto.caffe2_pb2",
    "workspace": "python.workspace",
    "core": "python.core",
    "utils": "python.utils",
    "model_helper": "python.model_helper",
    "predictor": "python.predictor",
    "predictor_exporter": "python.predictor.predictor_exporter",
    "onnx": "python.onnx",
    "backend": "python.onnx.backend",
    "Caffe2Backend": "python.onnx.backend.Caffe2Backend",
    "net_drawer": "python.net_drawer",
    "dyndep": "python.dyndep",
}


def resolve(path: str) -> Any:
    """A module, or what is in one, by its dotted path below the package."""
    found: Any = importlib.import_module(HOME)
    for part in path.split("."):
        if not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return found


def documented(root: Path) -> list[tuple[list[str], str]]:
    table = (
        (root / "docs" / "caffe2_compat.md").read_text().partition("## What is there")[2].partition("`caffe2.proto`")[0]
    )
    names: list[tuple[list[str], str]] = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| ") or cells[0].startswith("module"):
            continue
        modules = [f"python.{name}" for name in cells[0].split(", ")]
        listed = re.findall(r"\w+", re.sub(r"\([^)]*\)|databases are MiniDB only", "", " ".join(cells[1:])))
        names += [(modules, name) for name in listed]
    return names


def has(module: str, name: str) -> bool:
    return hasattr(resolve(module), name)


def test_documented_names_are_there(root):
    names = documented(root)
    assert len(names) > 100
    missing = [name for modules, name in names if not any(has(module, name) for module in modules)]
    assert not missing


def called(text: str) -> list[str]:
    """The names in the first column of the table, each with its module."""
    names = []
    for line in text.splitlines():
        if not line.startswith("| ") or line.startswith(("| name", "|---")):
            continue
        prefix = ""
        for name in re.split(r"[;,/]\s*|\s+/\s+", line.split("|")[1]):
            head, _, last = name.strip().rpartition(".")
            prefix = head or prefix
            names.append(f"{head or ('' if last in PREFIXES else prefix)}.{last}".strip("."))
    return names


def test_what_old_scripts_call_is_there(shared):
    names = called((shared / "facts" / "clients.md").read_text())
    assert {"workspace.RunNet", "caffe2_pb2.CPU", "net_drawer", "backend.run_model"} <= set(names)
    for name in names:
        head, _, rest = name.partition(".")
        resolve(".".join(filter(None, [PREFIXES[head], rest])))


MORE = ["python.brew", "python.cnn", "python.visualize", "python.onnx.frontend", "python.models", "proto.metanet_pb2"]


@pytest.mark.parametrize("module", MORE)
def test_modules_import(module):
    resolve(module)
