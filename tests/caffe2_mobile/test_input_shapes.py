"""Shapes of inputs on the command line: every command that takes a net takes them in the same words."""

import subprocess
import sys

import pytest

from caffe2_models import Net
from caffe2_models.proto import caffe2_pb2


@pytest.fixture(scope="module")
def two_inputs(tmp_path_factory):
    """The prefix of a net that adds two inputs of shapes that it does not record."""
    predict = caffe2_pb2.NetDef(name="two", external_input=["a", "b"], external_output=["c"])
    predict.op.add(type="Add", input=["a", "b"], output=["c"])
    prefix = tmp_path_factory.mktemp("nets") / "two"
    Net(predict).save(prefix)
    return str(prefix)


def run(*arguments, cwd):
    command = [sys.executable, "-m", "caffe2_mobile", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


COMMANDS = {
    "inspect": [],
    "benchmark": ["--runs", 1],
    "latency": ["--estimate"],
    "view": ["-o", "page.html", "--runs", 1],
    "to-onnx": ["-o", "two.onnx"],
    "to-tflite": ["-o", "two.tflite"],
}
SHAPES = [
    ["--shape", "a=2x3", "--shape", "b=2x3"],
    ["--input-dims", '{"a": [2, 3], "b": [2, 3]}'],
    ["--shape", "a=2x3", "--input_dims", '{"b": [2, 3]}'],
]


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_takes_shapes_by_name(verb, two_inputs, tmp_path):
    if verb == "to-tflite":
        pytest.importorskip("ai_edge_litert")
    done = run(verb, two_inputs, *COMMANDS[verb], *SHAPES[0], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    untold = run(verb, two_inputs, *COMMANDS[verb], *SHAPES[0][:2], cwd=tmp_path)
    said = untold.stderr if verb != "view" else untold.stdout
    assert "the shape of input b is not recorded in the net; give it (b=1x3x224x224, say)" in said


@pytest.mark.parametrize("shapes", SHAPES)
def test_shapes_add_up_however_they_are_told(shapes, two_inputs, tmp_path):
    done = run("inspect", two_inputs, *shapes, cwd=tmp_path)
    assert done.returncode == 0 and "2x3" in done.stdout


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("a=2x?", "no dimension can be left free here"),
        ("2x3", "expected NAME=1x3x48x320"),
        ("d=2x3", "d is no input"),
        ("a=2x4", "a"),
    ],
)
def test_a_wrong_shape_is_one_line(shape, said, two_inputs, tmp_path):
    done = run("to-onnx", two_inputs, "-o", "two.onnx", *SHAPES[0], "--shape", shape, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_refuses_the_shape_of_no_input(verb, two_inputs, tmp_path):
    if verb == "to-tflite":
        pytest.importorskip("ai_edge_litert")
    done = run(verb, two_inputs, *COMMANDS[verb], *SHAPES[0], "--shape", "d=2x3", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"caffe2-mobile {verb}: d is no input; the net's inputs are a, b\n")
    assert not list(tmp_path.iterdir())


def test_a_net_is_written_as_onnx_in_either_order_of_words(two_inputs, tmp_path):
    for arguments in ([two_inputs, "-o", "one.onnx"], ["--c2-prefix", two_inputs, "two.onnx"]):
        done = run("to-onnx", *arguments, *SHAPES[0], cwd=tmp_path)
        assert done.returncode == 0 and ": close" in done.stdout
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


@pytest.mark.parametrize("arguments", [["two"], ["-o", "x.onnx"], ["two", "-o", "x.onnx", "--model-dir", "two"]])
def test_a_net_and_a_file_to_write_are_named_once(arguments, tmp_path):
    done = run("to-onnx", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and "name one net and the file to write" in done.stderr
