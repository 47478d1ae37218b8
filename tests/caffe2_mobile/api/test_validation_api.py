"""Validation from Python and through its verb: results, what is said beside them, what is refused before the start."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from image_cases import colour_net, encode, noise, write_coloured

import caffe2_mobile
from caffe2_mobile import Caffe2Model, ModelError, OnnxModel, TorchModel, ValidateOptions, validate
from caffe2_mobile.api.validate import model_of
from caffe2_mobile.commands import validate as command
from caffe2_mobile.commands.program import options_from
from caffe2_models import kernels
from validate.cluster import IMPORT_ROOT
from validate.results import Result

SMALL = ValidateOptions(img_size=16, mean=(0.5,), std=(0.5,), workers=1, threads=1)
FLAGS = ["--img-size", "16", "--mean", "0.5", "--std", "0.5", "-j", "1", "--threads", "1"]


@pytest.fixture
def coloured(tmp_path):
    return write_coloured(tmp_path / "images")


@pytest.fixture
def net(tmp_path):
    return colour_net(tmp_path / "colours.onnx")


def test_a_result_prints_and_saves_itself(coloured, net, tmp_path):
    result = validate(
        coloured, net, dataclasses.replace(SMALL, channel_order="RGB", published="FBNet-96", state=tmp_path / "state")
    )
    assert (result.n, result.top5, result.holds) == (12, 100, True)
    assert result.top1 == pytest.approx(100 * 11 / 12)
    assert "top-1   91.67 %" in str(result) and "within what chance allows" in str(result)
    result.save(tmp_path / "r.json")
    assert Result.from_json(tmp_path / "r.json").totals == result.totals
    assert result.predictions.outcomes.rank.tolist() == [0] * 11 + [2]
    assert not (tmp_path / "state").exists()


def test_the_verb_takes_the_flags_of_every_form(coloured, net, capsys):
    assert command.main([str(coloured), "--onnx-input", str(net), *FLAGS]) == 0
    said = capsys.readouterr()
    assert "labels: 3 class folders numbered in sorted order\n" in said.out and said.err == ""
    with pytest.raises(ModelError, match=r"--c2-prefix, --model-dir, .*--onnx-input, --tflite-input, --model"):
        command.main([str(coloured)])
    with pytest.raises(ModelError, match="name the net by one of"):
        command.main([str(coloured), "--onnx-input", str(net), "--model", "fbnet_a"])


def test_defaults_are_the_flags_defaults():
    args = command.parser_of("", ("caffe2", "onnx", "tflite", "torch")).parse_args(["images"])
    assert options_from(ValidateOptions, args) == ValidateOptions()


def test_what_a_name_means(shared, net):
    folder = shared / "models" / "mobilenet_v1_0.25_128_quant"
    assert model_of(net) == OnnxModel(net)
    assert model_of(folder) == Caffe2Model(folder)
    assert model_of("fbnet_a") == TorchModel("fbnet_a")
    assert model_of("mine.json") == TorchModel("mine.json")


def test_a_net_has_the_name_of_its_folder_or_prefix(shared, tmp_path):
    folder = shared / "models" / "mobilenet_v1_0.25_128_quant"
    for part in ("predict", "init"):
        (tmp_path / f"mine.{part}.pb").symlink_to(folder / f"{part}_net.pb")
    names = [Caffe2Model(place).open(128).name for place in (folder, folder / "predict_net.pb", tmp_path / "mine")]
    assert names == [folder.name, folder.name, "mine"]


def test_a_published_net_is_not_validated_with_stand_in_weights(coloured, monkeypatch, tmp_path):
    monkeypatch.setenv("CAFFE2_MOBILE_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"FBNet-96/int8: its weights are not here .* caffe2-mobile download fbnet"):
        validate(coloured, "FBNet-96/int8")


def test_sorted_folders_and_a_net_with_other_outputs_are_warned_of(coloured, tmp_path, capsys):
    five = colour_net(tmp_path / "five.onnx", rows=np.eye(5, 3))
    command.main([str(coloured), "--onnx-input", str(five), *FLAGS])
    said = capsys.readouterr().err
    assert "3 class folders" in said and "five has 5 outputs; --label-map tells" in said and said.count("\n") == 1


@pytest.mark.parametrize("flag", ["--results-file", "--predictions", "--state"])
def test_what_could_not_be_written_in_the_end_is_refused_at_the_start(coloured, net, tmp_path, flag):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=rf"{tmp_path}/file/r.json: .* is not a folder"):
        command.main([str(coloured), "--onnx-input", str(net), *FLAGS, flag, str(tmp_path / "file" / "r.json")])


def test_a_large_image_needs_leave(coloured, net):
    (coloured / "red" / "2.jpg").write_bytes(encode(noise(300, 200), "PNG"))
    with pytest.raises(ModelError, match=r"red/2.jpg: 300 x 200 pixels exceed 59,999 \(--max-pixels allows more\)"):
        validate(coloured, net, dataclasses.replace(SMALL, max_pixels=59_999))
    assert validate(coloured, net, dataclasses.replace(SMALL, max_pixels=60_000)).n == 12


def test_without_kernels_it_is_said_that_int8_is_slow(shared, monkeypatch):
    monkeypatch.setattr(kernels, "is_available", lambda: False)
    classifier = Caffe2Model(shared / "models" / "mobilenet_v1_0.25_128_quant").open(128)
    assert classifier.backend == "reference"
    assert len(classifier.notes) == 1 and "install a C++ compiler" in classifier.notes[0]
    monkeypatch.setattr(kernels, "is_available", lambda: True)
    assert Caffe2Model(shared / "models" / "mobilenet_v1_0.25_128_quant").open(128).notes == ()


def test_without_torch_the_extra_is_named(coloured, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"torch is not installed: pip install 'caffe2-mobile\[torch\]'"):
        validate(coloured, TorchModel("fbnet_a"), SMALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 0}, "invalid limit 0"),
        ({"shard": (2, 2)}, "invalid shard"),
        ({"resume": True}, "--state"),
        ({"published": "resnet50"}, "resnet50 is in none"),
    ],
)
def test_impossible_options_are_refused_when_they_are_made(changes, message):
    with pytest.raises(ModelError, match=message):
        ValidateOptions(**changes)


def test_workers_of_a_cluster_import_what_the_driver_did(root):
    assert root == IMPORT_ROOT


def test_latency_inspection_and_benchmark(shared, tmp_path):
    folder = shared / "models" / "mobilenet_v1_0.25_128_quant"
    found = caffe2_mobile.inspect(folder, caffe2_mobile.InspectOptions(img_size=128))
    assert found.is_good and "multiply-adds" in str(found)
    found.save(tmp_path / "inspect.json")
    assert json.loads((tmp_path / "inspect.json").read_text())["macs"] == found.cost.macs

    options = caffe2_mobile.LatencyOptions(input_dims={"data": (1, 3, 128, 128)}, db_dir=shared / "lut" / "peer")
    result = caffe2_mobile.latency(folder, options)
    assert f"The network run-time latency is {result.total_us}" in str(result).splitlines()
    for suffix in (".json", ".csv", ".html"):
        result.save(tmp_path / f"latency{suffix}")
    assert json.loads((tmp_path / "latency.json").read_text())["latency_us"] == result.total_us
    with pytest.raises(ModelError, match=r"expected one in \.json, \.csv"):
        result.save(tmp_path / "latency.doc")

    options = caffe2_mobile.BenchmarkOptions(img_size=128, runs=1, warmup=0, whole_only=True)
    measured = caffe2_mobile.benchmark(folder, options)
    assert measured.ms > 0 and f"{measured.ms:.3f} ms" in str(measured)
