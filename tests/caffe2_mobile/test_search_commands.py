"""From a latency to an int8 net, and training alone, from Python and by command; candidates timed as whole nets are."""

import json
import os
import subprocess
import sys

import pytest
import torch

import caffe2_mobile
from caffe2_common.errors import ModelError
from caffe2_mobile import SearchOptions, TrainOptions, space_nets
from caffe2_mobile.api.nets import from_module, to_int8
from caffe2_mobile.commands import search, train
from caffe2_mobile.commands.program import options_from
from caffe2_mobile.commands.run_arguments import given_settings
from caffe2_models import load_net
from mobile_cv.model_zoo import create_model
from mobile_cv.model_zoo.networks import build
from mobile_cv.search import Processes, get_space, open_data
from mobile_cv.search.run import evaluate
from mobile_cv.settings import TrainingSettings
from runtime_lut.estimate import Estimator
from runtime_lut.latency import net_latency

DEVICE = "SM-G950U-7.0-24"


def run_verb(root, folder, *words):
    """The command, from any folder."""
    command = [sys.executable, "-m", "caffe2_mobile", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, env=environment)


@pytest.mark.parametrize("form", ["int8", "fp32"])
def test_candidates_add_up_to_whole_nets(form):
    """The latency by the candidates is that of the converted network, operator by operator."""
    space, estimator = get_space("fbnet_digits"), Estimator.shipped(DEVICE)
    table = space_nets.latency_table(space, form, estimator=estimator)
    assert table.device == DEVICE
    for choices in ([8, 8, 8, 8, 8, 8], [7, 1, 3, 8, 5, 0]):
        net = from_module(build(space.architecture(choices)).eval())
        net = to_int8(net, net.input_shapes()) if form == "int8" else net
        whole = net_latency(net, estimator=estimator).total_us / 1000
        assert table.of(choices) == pytest.approx(whole, rel=1e-9)


def test_from_a_latency_to_an_int8_net(root, tmp_path):
    out = tmp_path / "found"
    words = ["--space", "fbnet", "--data", "digits", "--target-ms", 0.12, "--device", DEVICE, "--threads", 1]
    words += ["--epochs", 2, "--warmup-epochs", 1, "--train-epochs", 4, "--random", 1, "--out", out]
    run = run_verb(root, tmp_path, "search", *words)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("latencies of the candidates' operators on") and "\nfound: " in run.stdout
    results = json.loads((out / "results.json").read_text())
    assert 0.95 * 0.12 <= results["latency_ms"] <= 0.12
    forms = {form["form"]: form for form in results["forms"]}
    assert list(forms) == ["PyTorch", "ONNX", "Caffe2 fp32", "Caffe2 int8"]
    assert all(line in run.stdout for line in forms) and "random networks (1)" in run.stdout
    assert forms["PyTorch"]["top1"] == pytest.approx(results["test_accuracy"], abs=0.01)
    assert forms["ONNX"]["agreement"] == forms["Caffe2 fp32"]["agreement"] == 100
    assert forms["Caffe2 int8"]["agreement"] > 90
    assert forms["Caffe2 int8"]["latency_ms"] == pytest.approx(results["latency_ms"], rel=1e-6)
    assert len(results["random"]) == 1
    assert all(0.95 * 0.12 <= network["latency_ms"] <= 0.12 for network in results["random"])
    assert (out / "accuracy_latency.png").stat().st_size > 5000

    model = create_model(str(out / "network.json"), checkpoint_path=out / "network.pth").eval()
    net = load_net(out / "network_int8.predict.pb", out / "network_int8.init.pb")
    assert net.is_quantized and model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)

    with pytest.raises(ModelError, match=r"another run \(lr\)"):
        search.main([*map(str, words), "--lr", "0.3"])


@pytest.mark.parametrize(
    "words, message",
    [
        (["--target-ms", "9"], r"invalid target 9 ms: the networks of space fbnet_digits take 0\.0"),
        (["--target-ms", "0.12", "--device", "nophone"], "no table of nophone"),
        (["--target-ms", "0.12", "--data", "/nowhere"], "/nowhere: no such data"),
        (["--target-ms", "-1"], "invalid target_ms -1.0: expected a number above zero"),
        (["--target-ms", "0.12", "--loss", "l"], "invalid loss 'l': expected one of target, paper, annafbnet"),
        (["--target-ms", "0.12", "--epochs", "0"], "invalid search setting epochs 0: expected a number above zero"),
    ],
)
def test_bad_input_is_one_line(tmp_path, words, message):
    with pytest.raises(ModelError, match=message) as error:
        search.main([*words, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value)


def test_a_text_table_is_read_with_a_warning(tmp_path, caplog):
    """The first table's orderings hold but in one layer; nothing of it is as fast as the target."""
    rows = ["ir_k3_e1 ir_k3_s2 ir_k3_e3 ir_k3_e6 ir_k5_e1 ir_k5_s2 ir_k5_e3 ir_k5_e6 skip"]
    rows += ["100 100 200 300 150 150 250 350 10"] * 5 + ["100 100 200 300 99 150 250 350 10"]
    path = tmp_path / "lookup_table.txt"
    path.write_text("\n".join(rows))
    with pytest.raises(ModelError, match=r"take 0\.06 to 2\.1 ms on lookup_table\.txt"):
        caffe2_mobile.search(0.01, SearchOptions(text_table=path, out=tmp_path))
    (warning,) = caplog.messages
    assert "1 of 42 orderings that must hold are violated: layer 5: ir_k3_e1 100 µs > ir_k5_e1 99" in warning


def test_training_by_python_and_by_command(tmp_path, capsys):
    definition, out = tmp_path / "small.json", tmp_path / "out"
    definition.write_text(get_space("fbnet_digits").architecture([0, 8, 0, 8, 0, 8]).to_json())
    result = caffe2_mobile.train(str(definition), TrainOptions(out=out, threads=1, settings={"epochs": 3}))
    assert result.top1 > 20 and result.images == 599
    model = create_model(str(result.definition), checkpoint_path=result.weights)
    figures = evaluate(model, open_data("digits").test, Processes())
    assert figures["accuracy"] == pytest.approx(result.top1, abs=1e-6)
    assert (
        train.main(["--model", str(definition), "--epochs", "3", "--threads", "1", "--out", str(out)]) == 0
    )  # nothing is left to do
    assert capsys.readouterr().out == f"{result}\n"
    with pytest.raises(ModelError, match="did you mean fbnet_96"):
        train.main(["--model", "fbnet_97", "--out", str(tmp_path)])


@pytest.mark.parametrize(
    ("command", "options", "argv"),
    [(train, TrainOptions(), ["-m", "x"]), (search, SearchOptions(), ["--target-ms", "1"])],
)
def test_defaults_of_flags_are_defaults_of_options(command, options, argv):
    args = command.parse(argv)
    assert options_from(type(options), args) == options
    assert given_settings(args, TrainingSettings, "train-" * (command is search)) == {}


def test_settings_that_are_none_are_named(tmp_path):
    with pytest.raises(ModelError, match="invalid training setting epoch: expected one of epochs, warmup_epochs, "):
        caffe2_mobile.train("fbnet_96", TrainOptions(out=tmp_path, settings={"epoch": 1}))
