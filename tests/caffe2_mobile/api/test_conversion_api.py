"""Export, conversion and quantization from Python: results that print and save themselves, as the commands do."""

import dataclasses
import json
import os

import numpy as np
import onnx.parser
import pytest
import torch
from PIL import Image

import caffe2_mobile
from caffe2_mobile import (
    ConvertOptions,
    ExportOptions,
    ModelError,
    QuantizeOptions,
    Recipe,
    ToOnnxOptions,
    convert,
    export,
    load_net,
    optimize,
    quantize,
    to_onnx,
)
from caffe2_mobile.commands import convert as convert_command
from caffe2_mobile.commands import export as export_command
from caffe2_mobile.commands import optimize as optimize_command
from caffe2_mobile.commands import quantize as quantize_command
from caffe2_mobile.commands import to_onnx as to_onnx_command
from caffe2_mobile.commands.program import options_from
from exporters.onnx_files import get_onnx_preprocessing, load_onnx

MODEL = "mobilenetv1_025"
SMALL = ExportOptions(random_weights=True, img_size=32, num_classes=3, mean=(0.5,), std=(0.5,))
SMALL_FLAGS = ["--random-weights", "--img-size", "32", "--num-classes", "3", "--mean", "0.5", "--std", "0.5"]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A folder of one's own; ONNX Runtime alone is compared with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAFFE2_PYTHON", raising=False)


@pytest.fixture(scope="module")
def exported():
    return export(MODEL, SMALL)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for index in range(6):
        path = folder / "abc"[index % 3] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    return folder


def test_an_export_prints_and_saves_what_the_command_does(exported, capsys):
    assert exported.holds and len(exported.comparisons) == 2
    exported.save("python.onnx")
    assert export_command.main(["command.onnx", "--model", MODEL, *SMALL_FLAGS]) == 0
    assert capsys.readouterr().out == f"command.onnx: {exported}\n"
    assert load_onnx("command.onnx") == load_onnx("python.onnx") == exported.model
    assert get_onnx_preprocessing(exported.model).mean == (0.5, 0.5, 0.5)


def test_any_module_is_exported():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
    result = export(module, ExportOptions(in_chans=1, img_size=8, mean=(0.5,), std=(0.5,)))
    assert result.holds and str(result).startswith(
        "Sequential, 0.00 M parameters, 3 nodes, opset 17, input batch x 1 x"
    )
    with pytest.raises(ModelError, match="a module has its own weights"):
        export(module, ExportOptions(random_weights=True))


def test_a_definition_gives_its_files_name(tmp_path):
    path = tmp_path / "mine.v2.json"
    path.write_text('{"stem": "cn_k3_s2_c8", "stages": ["ir_k3_s2_c16"], "size": 32}')
    result = export(str(path), ExportOptions(random_weights=True, num_classes=3))
    assert result.name == result.model.graph.name == "mine.v2"


def test_a_conversion_prints_and_saves_what_the_command_does(exported, capsys):
    exported.save("model.onnx")
    for source in ("model.onnx", exported.model):
        result = convert(source)
        assert result.holds
        result.save("python")
    assert convert_command.main(["model.onnx", "--c2-prefix", "command"]) == 0
    assert capsys.readouterr().out == f"command.init.pb, command.predict.pb: {result}\n"
    assert_same_files("python", "command")
    x = {"data": np.ones((2, 3, 32, 32), np.float32)}
    assert load_net("python.predict.pb", "python.init.pb").session().run(x)["output"].shape == (2, 3)


def test_an_optimized_file_is_what_the_command_writes(exported, capsys):
    exported.save("model.onnx")
    result = optimize("model.onnx")
    assert result.holds and result.nodes_before == len(exported.model.graph.node)
    assert optimize_command.main(["model.onnx", "small.onnx"]) == 0
    assert capsys.readouterr().out == f"small.onnx: {result}\n"
    assert load_onnx("small.onnx") == result.model


def test_the_way_back_is_what_the_command_writes(exported, capsys):
    net = convert(exported.model).net
    net.save("net")
    result = to_onnx(net)
    assert result.holds and len(result.comparisons) == 2
    result.save("python.onnx")
    assert to_onnx_command.main(["--c2-prefix", "net", "command.onnx"]) == 0
    assert capsys.readouterr().out == f"command.onnx: {result}\n"
    assert load_onnx("command.onnx") == load_onnx("python.onnx") == result.model


def test_the_way_back_of_an_int8_net_tells_how_near_it_is(exported, photographs):
    options = QuantizeOptions(calibration_images=2, recipe="minmax", threads=1)
    net = quantize(convert(exported.model).net, photographs, options).net
    exact, near = to_onnx(net), to_onnx(net, ToOnnxOptions(int8="qdq"))
    assert exact.holds and exact.int8.equal and "quantized values are equal" in str(exact)
    assert near.holds and near.int8 is not None and str(near.int8) in str(near)


def test_quantizing_gives_what_both_commands_give(exported, photographs, capsys):
    exported.save("model.onnx")
    net = convert(exported.model).net
    net.save("float")
    options = QuantizeOptions(calibration_images=4, recipe="minmax", max_drop=100, threads=1)
    before = net.predict.SerializeToString()
    result = quantize(net, photographs, options)
    assert net.predict.SerializeToString() == before
    assert result.net.is_quantized and result.holds and result.report.calibration_images == 4
    assert str(result).endswith("within --max-drop 100")
    result.save("python")
    flags = ["--calibration-data", str(photographs), "--calibration-images", "4", "--recipe", "minmax"]
    flags += ["--max-drop", "100", "--threads", "1"]
    assert quantize_command.main(["float", "-o", "verb", *flags]) == 0
    assert seconds_aside(capsys.readouterr().out) == seconds_aside(f"verb.init.pb, verb.predict.pb:\n{result}\n")
    assert convert_command.main(["model.onnx", "--c2-prefix", "flag", "--int8", *flags]) == 0
    assert quantize_command.main(["model.onnx", "-o", "onnx", *flags]) == 0
    for name in ("verb", "flag", "onnx"):
        assert_same_files("python", name)


def test_images_that_did_not_calibrate_judge(exported):
    """Every fifth of enough, where no others are given."""
    images = list(np.random.default_rng(0).standard_normal((50, 3, 32, 32), np.float32))
    net = convert(exported.model).net
    options = QuantizeOptions(recipe="minmax", threads=1)
    report = quantize(net, images, options).report
    assert (report.calibration_images, report.calibration.images) == (40, 40)
    assert report.held_out is not None and report.held_out.images == 10
    assert report.judged is report.held_out
    assert f"held-out images: 10, of which {report.held_out.agreement:.1f} % get the same class" in report.to_text()
    assert json.loads(report.to_json())["held_out"]["images"] == 10
    for other in (dataclasses.replace(options, hold_out=False), dataclasses.replace(options, evaluation_data=images)):
        report = quantize(net, images, other).report
        assert report.calibration_images == 50 and report.held_out is None


def test_others_of_the_folder_judge_where_there_are_some(exported, photographs, tmp_path):
    first = next(path for path in sorted(photographs.rglob("*.*")) if path.is_file())
    for number in range(20):
        (tmp_path / f"{number}{first.suffix}").write_bytes(first.read_bytes())
    options = QuantizeOptions(recipe="minmax", threads=1, calibration_images=8)
    report = quantize(convert(exported.model).net, tmp_path, options).report
    assert report.calibration_images == 8
    assert report.held_out is not None and report.held_out.images == 12


def test_images_may_be_arrays_and_a_recipe_may_be_made(exported):
    images = list(np.random.default_rng(0).standard_normal((3, 3, 32, 32), np.float32))
    recipe = dataclasses.replace(Recipe(), clipping=False, compensation=False)
    result = quantize(convert(exported.model).net, images, QuantizeOptions(recipe=recipe, max_drop=-1))
    assert not result.holds and result.drop == 100 - result.report.calibration.agreement
    assert result.report.recipe["compensation"] is False


@pytest.mark.parametrize(
    ("command", "options", "argv"),
    [
        (export_command, ExportOptions(), ["o.onnx", "-m", "x"]),
        (convert_command, ConvertOptions(), ["i.onnx", "--c2-prefix", "p"]),
        (to_onnx_command, ToOnnxOptions(), ["--c2-prefix", "p", "o.onnx"]),
        (to_onnx_command, ToOnnxOptions(), ["n", "-o", "o.onnx"]),
        (quantize_command, QuantizeOptions(), ["i.onnx", "-o", "p", "--calibration-data", "."]),
    ],
)
def test_defaults_of_flags_are_defaults_of_options(command, options, argv):
    assert options_from(type(options), command.parse(argv)) == options


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ExportOptions(img_size=0), "invalid img_size 0: expected a number above zero"),
        (lambda: ExportOptions(exporter="onnx"), "invalid exporter 'onnx': expected one of auto, torchscript, dynamo"),
        (lambda: ExportOptions(checkpoint="a", random_weights=True), "expected either a checkpoint or random weights"),
        (lambda: export(MODEL, ExportOptions(in_chans=4, mean=(1, 2), random_weights=True)), "expected one, or 4"),
        (lambda: QuantizeOptions(threads=-1), "invalid threads -1: expected a number above zero"),
        (lambda: quantize("nowhere", ".", QuantizeOptions(recipe="quick")), "recipe quick is none of"),
        (lambda: quantize("nowhere", "."), "nowhere"),
    ],
)
def test_bad_input_is_one_line(make, said):
    with pytest.raises(ModelError, match=said) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "argv",
    [
        [export_command, "no.txt/o.onnx", "-m", MODEL, "--random-weights"],
        [convert_command, "model.onnx", "--c2-prefix", "no.txt/net"],
        [quantize_command, "model.onnx", "-o", "no.txt/net", "--calibration-data", "."],
        [quantize_command, "model.onnx", "-o", "net", "--calibration-data", ".", "--report", "no.txt/r.html"],
        [optimize_command, "model.onnx", "no.txt/o.onnx"],
        [to_onnx_command, "--model-dir", "nowhere", "no.txt/o.onnx"],
    ],
)
def test_what_cannot_be_written_is_found_at_the_start(argv):
    """Before the input is read, which is not there."""
    with open("no.txt", "w"):
        pass
    with pytest.raises(ModelError, match=r"no\.txt is not a folder"):
        argv[0].main(argv[1:])


def test_a_crash_of_the_comparison_leaves_no_files(exported, monkeypatch):
    exported.save("model.onnx")

    def crash(*_):
        raise RuntimeError

    monkeypatch.setattr("caffe2_mobile.api.convert.verify_net", crash)
    with pytest.raises(RuntimeError):
        convert_command.main(["model.onnx", "--c2-prefix", "net"])
    assert os.listdir() == ["model.onnx"]


def test_tokens_go_all_the_way():
    """The element types that the net records are those of every later command."""
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        net (int64[N,12] ids, float[1,1] scale) => (float[N,12,4] y) <float[3,4] table = {0,1,2,3,4,5,6,7,8,9,10,11}> {
            x = Gather(table, ids)
            y = Mul(x, scale)
        }
        """
    )
    result = convert(model)
    assert result.holds
    assert "problem" not in str(caffe2_mobile.inspect(result.net))
    assert caffe2_mobile.benchmark(result.net, caffe2_mobile.BenchmarkOptions(runs=1)).ms > 0
    assert caffe2_mobile.latency(result.net) is not None
    assert to_onnx(result.net).holds


def test_every_public_name_is_there():
    for name in caffe2_mobile.__all__:
        assert getattr(caffe2_mobile, name) is not None


def assert_same_files(one, other):
    for part in ("init", "predict"):
        with open(f"{one}.{part}.pb", "rb") as first, open(f"{other}.{part}.pb", "rb") as second:
            assert first.read() == second.read()


def seconds_aside(text):
    return [line.rpartition("; ")[0] if line.startswith("corrections: ") else line for line in text.splitlines()]
