"""The commands of the conversion, as a user runs them."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from conversion_cases import CASES, build

from caffe2_models import load_net
from caffe2_models.preprocessing import get_preprocessing
from exporters.onnx_files import get_onnx_preprocessing, load_onnx, save_onnx


@pytest.fixture(scope="module")
def run(root):
    def run(*command, caffe2=None):
        environment = {key: value for key, value in os.environ.items() if key != "CAFFE2_PYTHON"}
        if caffe2:
            environment["CAFFE2_PYTHON"] = caffe2
        return subprocess.run(
            [sys.executable, *map(str, command)], cwd=root, env=environment, capture_output=True, text=True
        )

    return run


needs_torch = pytest.mark.needs("torch")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """A small model of the zoo, exported by the command."""
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    done = run("onnx_export.py", "--model", "tf_mobilenetv1_025", path, "--random-weights", "--img-size", 75,
               "--num-classes", 10, "--mean", 0.4, 0.5, 0.6, "--std", 0.5, 0.5, 0.5)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path, done


@needs_torch
def test_export_proves_itself_and_records_the_preprocessing(exported):
    path, done = exported
    lines = done.stdout.splitlines()
    assert "opset 17, input batch x 3 x 75 x 75; onnx.checker finds it valid" in lines[0]
    assert len(lines) == 3 and all("max |difference|" in line and line.endswith(": close") for line in lines[1:])
    preprocessing = get_onnx_preprocessing(load_onnx(path))
    assert (preprocessing.size, preprocessing.mean) == (75, (0.4, 0.5, 0.6))


@needs_torch
def test_there_and_back_again(exported, run, tmp_path):
    path, _ = exported
    done = run("onnx_to_caffe.py", path, "--c2-prefix", tmp_path / "net")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": close") == 2 and "27 Conv, 27 Clip, 1 AveragePool, 1 FC" in done.stdout
    net = load_net(tmp_path)
    assert get_preprocessing(net.predict) == get_onnx_preprocessing(load_onnx(path))
    assert net.input_shapes() == {"data": (1, 3, 75, 75)}
    done = run("scripts/caffe2_to_onnx.py", "--c2-prefix", tmp_path / "net", tmp_path / "back.onnx")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": close") == 2
    again = run("onnx_to_caffe.py", tmp_path / "back.onnx", "--c2-prefix", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    second = load_net(tmp_path / "again.predict.pb", tmp_path / "again.init.pb")
    assert [op.type for op in second.predict.op] == [op.type for op in net.predict.op]
    for ours, theirs in zip(net.parameters.values(), second.parameters.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.oracle
def test_real_caffe2_is_asked_where_it_is_at_hand(exported, run, tmp_path, caffe2_python):
    done = run("onnx_to_caffe.py", exported[0], "--c2-prefix", tmp_path / "net", caffe2=caffe2_python)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the real Caffe2 against ONNX Runtime") == 2 and done.stdout.count(": close") == 4


@pytest.mark.parametrize("listed", [False, True])
def test_optimize_folds_and_checks(run, tmp_path, listed):
    """Also where the weights are listed among the inputs, as they had to be once."""
    model = build(CASES["conv_bias_bn_relu"])
    if listed:
        model.ir_version = 3
        for tensor in model.graph.initializer:
            model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    save_onnx(model, tmp_path / "model.onnx")
    done = run("scripts/onnx_optimize.py", tmp_path / "model.onnx", tmp_path / "small.onnx")
    assert done.returncode == 0, done.stderr
    assert "2 nodes, from 3" in done.stdout and done.stdout.count(": close") == 2
    assert [node.op_type for node in load_onnx(tmp_path / "small.onnx").graph.node] == ["Conv", "Relu"]


def test_outputs_that_differ_are_status_1(monkeypatch, capsys, tmp_path):
    """A conversion that goes wrong is found by its own comparison."""
    from caffe2_mobile.commands import convert as convert_command
    from exporters import onnx_to_caffe2

    convert = onnx_to_caffe2.convert

    def wrong(*arguments):
        net = convert(*arguments)
        next(arg for arg in net.predict.op[0].arg if arg.name == "pad").i = 0
        return type(net)(net.predict, net.init)

    monkeypatch.setattr(onnx_to_caffe2, "convert", wrong)
    model = build(CASES["conv"])
    save_onnx(model, tmp_path / "model.onnx")
    assert convert_command.main([str(tmp_path / "model.onnx"), "--c2-prefix", str(tmp_path / "net")]) == 1
    assert "is not (1, 4, 4, 4)" in capsys.readouterr().out


@needs_torch
def test_export_that_differs_is_status_1(monkeypatch, capsys, tmp_path):
    from caffe2_mobile.commands import export as export_command
    from exporters import torch_to_onnx

    def wrong(*arguments, **options):
        model = export(*arguments, **options)
        bias = next(tensor for tensor in model.graph.initializer if tensor.name == "classifier.bias")
        bias.raw_data = np.ones(bias.dims, np.float32).tobytes()
        return model

    export = torch_to_onnx.export
    monkeypatch.setattr(torch_to_onnx, "export", wrong)
    command = ["--model", "mobilenetv1_025", "--img-size", "32", "--random-weights", str(tmp_path / "model.onnx")]
    assert export_command.main(command) == 1
    assert capsys.readouterr().out.count("NOT close") == 2


@needs_torch
def test_sweep_goes_on_where_it_was_interrupted(run, tmp_path):
    table, journal = tmp_path / "table.md", tmp_path / "rows.jsonl"
    command = ("scripts/zoo_sweep.py", "--models", "fbnet_[ab]_cifar10", "--journal", journal, "--output", table)
    first = run(*command, "--shard", "1/2")
    assert first.returncode == 0 and "1 of 2 rows, 0 failures" in first.stdout, first.stderr
    row = journal.read_text().replace('"export_seconds": ', '"export_seconds": 777')
    journal.write_text(row + row[:40])  # and a row that was cut off
    second = run(*command)
    assert second.returncode == 0 and "2 of 2 rows, 0 failures" in second.stdout, second.stderr
    lines = [line for line in table.read_text().splitlines() if line.startswith("| fbnet_")]
    assert [line.split()[1] for line in lines] == ["fbnet_a_cifar10", "fbnet_b_cifar10"]
    assert "| 777" in lines[1] and "| 777" not in lines[0]
    assert not journal.exists()


EXPORT = "onnx_export.py x.onnx --random-weights --model"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("onnx_to_caffe.py none.onnx --c2-prefix x", "none.onnx: no such file"),
        ("onnx_to_caffe.py LICENSE --c2-prefix x", "LICENSE: truncated or not an ONNX model"),
        ("onnx_to_caffe.py --c2-prefix x", "give IN.onnx, or --c2-init and --c2-predict with --int8"),
        ("onnx_to_caffe.py m.onnx --c2-prefix x --int8", "--int8 needs --calibration-data DIR"),
        ("onnx_to_caffe.py m.onnx --c2-prefix x --calibration-data no/such", "no/such: no such folder"),
        pytest.param(f"{EXPORT} mobilenetv9", "no model named 'mobilenetv9'", marks=needs_torch),
        pytest.param(f"{EXPORT} mobilenetv2_100 --opset 3", "opset 3: choose from 9", marks=needs_torch),
        pytest.param(
            f"{EXPORT} mobilenetv1_025 --std 0.5 0.5", "invalid std: 2 numbers for 3 input channels", marks=needs_torch
        ),
        pytest.param(
            f"{EXPORT} tf_mobilenetv1_025 --dynamic-size", "SAME padding is made for one size", marks=needs_torch
        ),
        ("scripts/caffe2_to_onnx.py --model-dir no/such x.onnx", "no/such"),
        ("scripts/onnx_optimize.py none.onnx x.onnx", "none.onnx: no such file"),
    ],
)
def test_bad_input_is_one_line_and_status_2(command, message, run, root):
    done = run(*command.split())
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""
    assert not list(root.glob("x.*"))


def test_unsupported_operators_write_nothing(run, tmp_path):
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[3] x) => (float[3] y) { [it] y = RandomNormalLike(x) }'
    save_onnx(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    done = run("onnx_to_caffe.py", tmp_path / "model.onnx", "--c2-prefix", tmp_path / "net")
    assert done.returncode == 2 and "RandomNormalLike (it)" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
