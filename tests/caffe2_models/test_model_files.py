"""ONNX and TensorFlow Lite files opened as Caffe2 nets are: what they compute, cost and tell of themselves."""

import json
import subprocess
import sys
import zlib

import numpy as np
import onnx
import pytest
from image_cases import colour_net, write_coloured

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra `litert`)")

from ai_edge_litert import schema_py_generated as schema

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile import (
    BenchmarkOptions,
    InspectOptions,
    LatencyOptions,
    TfliteModel,
    ValidateOptions,
    benchmark,
    inspect,
    latency,
    load_net,
    quantize,
    to_onnx,
    to_tflite,
    validate,
)
from caffe2_mobile.api.validate import model_of
from caffe2_mobile.commands import benchmark as benchmark_command
from caffe2_mobile.commands import validate as validate_command
from caffe2_models import Net
from caffe2_models.build import add_operator, make_init
from caffe2_models.model_files import open_model_file
from caffe2_models.model_files.tflite_metadata import read_normalization
from caffe2_models.origin import KEY, record_net, recorded_net
from caffe2_models.preprocessing import set_preprocessing
from caffe2_models.profiling import cost
from caffe2_models.proto import caffe2_pb2
from exporters.caffe2_to_tflite.graph import NHWC, Graph, Quantization
from exporters.caffe2_to_tflite.metadata import metadata, with_labels
from runtime_lut.signature import Signature

SIZE = 16
RECORDED = Preprocessing(size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0)
COLOURS = ("blue", "green", "red")
EXACT = ValidateOptions(workers=1, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of three colours, and a net that tells them apart, in all its forms."""
    folder = tmp_path_factory.mktemp("forms")
    write_coloured(folder / "images")
    net = float_net()
    net.save(folder / "float")
    noise = np.random.default_rng(0).uniform(-1, 1, (8, 3, SIZE, SIZE)).astype(np.float32)
    int8 = quantize(net, list(noise)).net
    set_preprocessing(int8.predict, RECORDED)
    int8.save(folder / "int8")
    to_onnx(folder / "int8").save(folder / "exact.onnx")
    to_tflite(folder / "float").save(folder / "float.tflite")
    to_tflite(folder / "int8").save(folder / "uint8.tflite")
    return folder


def float_net() -> Net:
    """A convolution of which channel k is colour k, pooled, and a softmax."""
    predict = caffe2_pb2.NetDef(name="colours", external_input=["data", "w", "b", "f", "g"], external_output=["prob"])
    weight = np.zeros((3, 3, 3, 3), np.float32)
    weight[np.arange(3), 2 - np.arange(3), 1, 1] = 4.0
    add_operator(predict, "Conv", ["data", "w", "b"], ["y"], kernel=3, pad=1, stride=2, order="NCHW")
    add_operator(predict, "Relu", ["y"], ["z"])
    add_operator(predict, "AveragePool", ["z"], ["pooled"], global_pooling=1, order="NCHW")
    add_operator(predict, "FC", ["pooled", "f", "g"], ["scores"])
    add_operator(predict, "Softmax", ["scores"], ["prob"])
    values = {
        "w": weight,
        "b": np.full(3, 2, np.float32),
        "f": np.eye(3, dtype=np.float32),
        "g": np.zeros(3, np.float32),
    }
    set_preprocessing(predict, RECORDED)
    return Net(predict, make_init(values))


def test_all_forms_of_a_net_compute_the_same(folder):
    net = load_net(folder / "int8.predict.pb", folder / "int8.init.pb")
    data = np.random.default_rng(1).uniform(-1, 1, (1, 3, SIZE, SIZE)).astype(np.float32)
    want = net.session("reference").run({"data": data})["prob"]
    for name, kernels in (("exact.onnx", None), ("uint8.tflite", "reference")):
        file = open_model_file(folder / name, kernels)
        assert list(file.inputs.values()) == [(None if kernels is None else 1, 3, SIZE, SIZE)]
        (got,) = file.session()({next(iter(file.inputs)): data}).values()
        np.testing.assert_allclose(got, want, rtol=1e-5)
        assert file.preprocessing == RECORDED and file.form.endswith("-int8")


def test_validation_takes_every_form(folder):
    forms = {}
    for name in ("float", "int8", "exact.onnx", "float.tflite", "uint8.tflite"):
        result = validate(folder / "images", folder / name, EXACT)
        figures = result.figures
        forms[name] = (figures.form, figures.backend, round(result.top1, 2), figures.preprocessing == RECORDED)
        assert result.totals.mean_loss < 1  # a softmax is told as one
    assert forms == {
        "float": ("caffe2-fp32", "onnxruntime", 91.67, True),
        "int8": ("caffe2-int8", forms["int8"][1], 91.67, True),
        "exact.onnx": ("onnx-int8", "onnxruntime", 91.67, True),
        "float.tflite": ("tflite", "litert (XNNPACK)", 91.67, True),
        "uint8.tflite": ("tflite-int8", "litert (XNNPACK)", 91.67, True),
    }


def test_what_a_name_means_to_the_validator(folder, capsys):
    assert model_of("x.tflite") == TfliteModel("x.tflite")
    words = [
        str(folder / "images"),
        str(folder / "uint8.tflite"),
        "--kernels",
        "reference",
        "-j",
        "1",
        "--threads",
        "1",
    ]
    assert validate_command.main(words) == 0
    assert "uint8 (tflite-int8, litert (reference kernels)" in capsys.readouterr().out
    assert validate_command.main([str(folder / "images"), str(folder / "int8"), "-j", "1", "--threads", "1"]) == 0
    assert "int8 (caffe2-int8, exact" in capsys.readouterr().out


def test_work_and_parameters_are_counted_as_in_caffe2(folder):
    net = load_net(folder / "float.predict.pb", folder / "float.init.pb")
    own = cost(net, net.input_shapes())
    found = inspect(folder / "float.tflite")
    assert found.cost.macs == own.macs and found.task == "classification (3 classes)" and found.is_good
    kinds = {row.type: row for row in found.cost.operators}
    assert kinds["CONV_2D"].parameters == 3 * 27 + 3 and kinds["CONV_2D"].shape == [1, 8, 8, 3]
    assert "tflite for litert (XNNPACK)" in str(found) and json.dumps(found.to_dict())
    exact = inspect(folder / "exact.onnx", InspectOptions(batch_size=2))
    assert exact.inputs == {"data": (2, 3, SIZE, SIZE)} and exact.cost.macs == 2 * own.macs
    assert exact.cost.parameters < 400 and "onnx-int8 for onnxruntime" in str(exact)


def test_the_time_of_a_file_is_that_of_its_own_runtime(folder, capsys):
    for name, backend in (("exact.onnx", "onnxruntime"), ("uint8.tflite", "litert (XNNPACK)")):
        found = benchmark(folder / name, BenchmarkOptions(runs=3))
        assert found.backend == backend and found.ms > 0 and not found.has_operators
    benchmark_command.main([str(folder / "uint8.tflite"), "--kernels", "built-in", "--runs", "2"])
    assert "uint8 on litert (built-in kernels), 1 thread: " in capsys.readouterr().out
    with pytest.raises(ModelError, match=r"uint8.tflite: is run by litert \(XNNPACK\), not by exact"):
        benchmark(folder / "uint8.tflite", BenchmarkOptions(backend="exact"))
    with pytest.raises(ModelError, match="has no choice of kernels"):
        benchmark(folder / "exact.onnx", BenchmarkOptions(kernels="reference"))
    with pytest.raises(ModelError, match=r"input data is of shape \[1, 3, 16, 16\], not \[1, 3, 9, 9\]"):
        benchmark(folder / "uint8.tflite", BenchmarkOptions(img_size=9))


def test_latency_is_that_of_the_net_it_was_made_from(folder):
    want = latency(folder / "int8", LatencyOptions(estimate=True))
    for name in ("exact.onnx", "uint8.tflite"):
        assert latency(folder / name, LatencyOptions(estimate=True)).total_us == want.total_us > 0


def test_a_recorded_net_has_the_same_operators():
    net = float_net()
    shapes = {"data": (1, 3, SIZE, SIZE)}
    again = recorded_net(record_net(net, shapes))
    assert again.input_shapes() == shapes
    signatures = [[Signature.of_step(step).key for step in each.walk(shapes)] for each in (net, again)]
    assert signatures[0] == signatures[1]
    assert np.array_equal(again.parameters["b"], net.parameters["b"])  # small ones are kept


@pytest.mark.parametrize("content", [b"", b"x" * 40, record_net(float_net(), {})[:60]])
def test_a_record_that_is_none(content):
    with pytest.raises(ModelError, match="recorded in the file is unreadable"):
        recorded_net(content)


def test_a_record_of_immense_weights_takes_no_memory():
    predict = caffe2_pb2.NetDef()
    init = caffe2_pb2.NetDef()
    add_operator(init, "StandIn", [], ["w"], shape=np.array([1 << 20, 1 << 20]), dtype="float32")
    plan = caffe2_pb2.PlanDef(network=[predict, init]).SerializeToString()

    with pytest.raises(ModelError, match="weights above 1024 MiB"):
        recorded_net(zlib.compress(plan))


def bytes_file(path, kind, entries=None, labels=()):
    """A file as others make them: bytes in, bytes out, and a mean of each channel."""
    dtype, offset = (np.uint8, 0) if kind == "uint8" else (np.int8, 128)
    graph, quantization = Graph(), Quantization(1 / 128, 128 - offset)
    image = graph.tensor("image", (1, 3, SIZE, SIZE), dtype, NHWC, quantization)
    axes = graph.ints([1, 2])
    mean = graph.add("MEAN", [image, axes], (1, 3), dtype, None, quantization, table="ReducerOptions", keepDims=False)
    content = graph.pack("means", [image], [mean], entries or {})
    path.write_bytes(with_labels(content, labels))
    return path


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_bytes_go_in_and_come_out_as_real_values(kind, tmp_path):
    file = open_model_file(bytes_file(tmp_path / "means.tflite", kind), "reference")
    assert file.form == "tflite"  # it has no weights in bytes
    data = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 3, SIZE, SIZE)).astype(np.float32)
    (got,) = file.session()({"image": data}).values()
    np.testing.assert_allclose(got, data.mean(axis=(2, 3)), atol=1 / 128)
    # without metadata the bytes are the pixels
    pixels = np.array([0, 100, 255])
    values = (pixels / 255 - file.preprocessing.mean[0]) / file.preprocessing.std[0]
    np.testing.assert_allclose(np.rint(values * 128) + 128, pixels)


def test_metadata_of_others_is_read(tmp_path):
    graph = Graph()
    image = graph.tensor("image", (1, 3, SIZE, SIZE), np.float32, NHWC)
    said = Preprocessing(size=SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
    entries = metadata("means", said, {"image": image}, {"mean": image}, COLOURS)
    del entries["preprocessing"]
    file = open_model_file(bytes_file(tmp_path / "means.tflite", "uint8", entries, COLOURS))
    assert file.labels == COLOURS
    np.testing.assert_allclose(file.preprocessing.mean, said.mean, rtol=1e-6)
    np.testing.assert_allclose(file.preprocessing.std, said.std, rtol=1e-6)
    assert file.preprocessing.size == SIZE
    with pytest.raises(ModelError, match="does not record the Caffe2 net that it was made from"):
        file.origin()
    assert latency(tmp_path / "means.tflite", LatencyOptions(estimate=True)).total_us > 0  # of what it becomes


def test_metadata_that_are_none_count_as_absent():
    rng = np.random.default_rng(0)
    for length in (0, 7, 8, 40, 400):
        noise = bytearray(rng.bytes(length))
        noise[4:8] = b"M001"
        assert read_normalization(bytes(noise), 3) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.tflite", b"", "x.tflite: not a TensorFlow Lite file"),
        ("x.tflite", b"no flatbuffer at all", "x.tflite: not a TensorFlow Lite file"),
        ("x.tflite", b"\x20\0\0\0TFL3" + b"\xff" * 64, "x.tflite: LiteRT"),
        ("x.onnx", b"no protobuf", "x.onnx: "),
        ("absent.tflite", None, "absent.tflite: no such file"),
        ("absent.onnx", None, "absent.onnx: no such file"),
    ],
)
def test_a_file_that_is_none_is_told_in_one_line(name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for function in (inspect, benchmark, latency, lambda path: validate(write_coloured(tmp_path / "images"), path)):
        with pytest.raises(ModelError, match=message) as caught:
            function(path)
        assert "\n" not in str(caught.value)


def test_a_cut_file_is_refused(folder, tmp_path):
    content = (folder / "uint8.tflite").read_bytes()
    for end in (100, len(content) // 2, len(content) - 8):
        (tmp_path / "cut.tflite").write_bytes(content[:end])
        with pytest.raises(ModelError, match=r"cut\.tflite: LiteRT"):
            inspect(tmp_path / "cut.tflite")


def test_float_onnx_files_become_caffe2_nets(tmp_path):
    net = colour_net(tmp_path / "colours.onnx", batch=1)
    assert benchmark(net, BenchmarkOptions(runs=1)).has_operators


def test_without_litert_the_extra_is_named(folder, root):
    program = (
        "import sys; sys.modules['ai_edge_litert'] = None; from caffe2_mobile.commands import {verb}, program; "
        "sys.argv[:] = ['caffe2-mobile {verb}', *sys.argv[1:]]; program.run({verb}.main)"
    )
    for verb in ("inspect", "validate"):
        words = [str(folder / "images")] * (verb == "validate") + [str(folder / "uint8.tflite")]
        command = [sys.executable, "-c", program.format(verb=verb), *words]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr == (
            f"caffe2-mobile {verb}: ai_edge_litert is not installed: pip install 'caffe2-mobile[litert]'\n"
        )


def test_records_stand_in_the_files(folder):
    model = onnx.load(folder / "exact.onnx")
    assert KEY in {entry.key for entry in model.metadata_props}
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs((folder / "uint8.tflite").read_bytes()))
    assert KEY.encode() in {entry.name for entry in content.metadata}
