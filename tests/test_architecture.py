"""The import rules of the house: who may import whom, and what starts without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = {"caffe2_common", "caffe2_mobile", "caffe2_models", "exporters", "mobile_cv", "runtime_lut", "validate"}

MAY_IMPORT = {
    "caffe2_common": set(),
    "caffe2_mobile": {"caffe2_common", "caffe2_models", "exporters", "mobile_cv", "runtime_lut", "validate"},
    "caffe2_models": {"caffe2_common"},
    "mobile_cv": {"caffe2_common"},
    "exporters": {"caffe2_common", "caffe2_models"},
    "validate": {"caffe2_common", "caffe2_models"},
    "runtime_lut": {"caffe2_common", "caffe2_models"},
}

# The one stage that reads PyTorch models, and so imports torch and the zoo.
TORCH_STAGE = {"exporters/torch_to_onnx.py"}


def imports(path: Path) -> set[str]:
    """The top-level packages that a source file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_import_only_what_they_may(root, package):
    for path in sorted((root / package).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        allowed = MAY_IMPORT[package] | ({"mobile_cv"} if name in TORCH_STAGE else set())
        forbidden = (imports(path) & PACKAGES) - allowed - {package}
        assert not forbidden, f"{name} imports {sorted(forbidden)}"
        if package not in ("caffe2_mobile", "mobile_cv") and name not in TORCH_STAGE:
            assert "torch" not in imports(path), f"{name} imports torch"


def test_onnx_runtime_is_opened_in_one_place(root):
    """`open_session` leaves out the optimizers that compute something else."""
    owner = root / "caffe2_models" / "runtimes" / "onnx_runtime.py"
    folders = [*PACKAGES, "scripts", "tests"]
    sources = [*root.glob("*.py"), *(path for folder in folders for path in (root / folder).rglob("*.py"))]
    for path in sorted({*sources} - {owner}):
        for node in ast.walk(ast.parse(path.read_text())):
            opens = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("InferenceSession")
            assert not opens, f"{path.relative_to(root)}:{node.lineno} opens a session of its own"


def test_text_is_utf8_on_every_system(root):
    for path in (path for package in PACKAGES for path in (root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".read_text", ".write_text", "open")):
                mode = [ast.unparse(argument) for argument in node.args]
                is_text = not ast.unparse(node.func).endswith("open") or any(word in ("'w'", "'a'") for word in mode)
                said = {keyword.arg for keyword in node.keywords}
                assert not is_text or "encoding" in said, f"{path.relative_to(root)}:{node.lineno} names no encoding"


@pytest.mark.parametrize("command", ["get_runtime.py", "onnx_to_caffe.py", "caffe2_validate.py"])
def test_commands_start_without_torch(root, command):
    program = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv[:] = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = [sys.executable, "-c", program, command, "--help"]
    run = subprocess.run(arguments, cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "usage" in run.stdout
