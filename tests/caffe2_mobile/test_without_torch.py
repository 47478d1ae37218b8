"""What needs no PyTorch works without it; what does says in one line what to install."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import contextlib, importlib, io, json, sys
sys.modules["torch"] = None  # as if it were not installed
import caffe2_mobile
from caffe2_mobile.commands import VERBS, program

def call(verb, *argv):
    sys.argv[:] = [f"caffe2-mobile {verb}", *argv]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            program.run(importlib.import_module(f"caffe2_mobile.commands.{verb.replace('-', '_')}").main)
        except SystemExit as end:
            return [end.code or 0, out.getvalue(), err.getvalue()]

def ask(function, *arguments):
    try:
        return str(function(*arguments))
    except caffe2_mobile.ModelError as error:
        return f"ModelError: {error}"

calls = {
    "export": ["x.onnx", "-m", "fbnet_a"],
    "list": [],
    "search": ["--target-ms", "1"],
    "train": ["-m", "fbnet_a"],
    "latency": ["--model_path", "fbnet_a"],
}
functions = {"export": "fbnet_a", "list_models": "*", "search": 1.0, "train": "fbnet_a"}
print(json.dumps({
    "help": {verb: call(verb, "--help") for verb in VERBS},
    "calls": {verb: call(verb, *argv) for verb, argv in calls.items()},
    "functions": {name: ask(getattr(caffe2_mobile, name), argument) for name, argument in functions.items()},
    "names": [name for name in caffe2_mobile.__all__ if getattr(caffe2_mobile, name) is None],
    "latency": call("latency", "--model_path", "ChamNet-A/int8", "--by", "type"),
}))
"""
REMEDY = "torch is not installed: pip install 'caffe2-mobile[torch]'"


@pytest.fixture(scope="module")
def found(root, tmp_path_factory):
    """What one process without torch had to say."""
    folder = tmp_path_factory.mktemp("empty")
    program = f"import sys; sys.path.insert(0, {str(root)!r}){PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return json.loads(done.stdout)


def test_every_verb_tells_what_it_does(found):
    for verb, (status, out, err) in found["help"].items():
        assert (status, err) == (0, ""), f"{verb}: {err}"
        assert out.startswith("usage: caffe2-mobile"), verb


def test_commands_that_need_it_name_the_extra(found):
    for verb, (status, out, err) in found["calls"].items():
        assert (status, out, err.count("\n")) == (2, "", 1), f"{verb}: {err}"
        assert err.startswith(f"caffe2-mobile {verb}: ") and REMEDY in err


def test_functions_that_need_it_name_the_extra(found):
    assert set(found["functions"].values()) == {f"ModelError: {REMEDY}"}


def test_the_rest_works(found):
    status, out, _ = found["latency"]
    assert status == 0 and "The network run-time latency is" in out
    assert found["names"] == []
