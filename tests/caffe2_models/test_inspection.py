"""Looking at nets: what is wrong with them, what they cost, their two file forms."""

import json
import subprocess
import sys

import numpy as np
import pytest
from google.protobuf import text_format
from operator_cases import CASES
from random_nets import random_net
from test_detection import detector, feeds_of

from caffe2_models import Int8Tensor, Net, load_net
from caffe2_models.build import add_operator, make_init
from caffe2_models.files import write_net
from caffe2_models.inspection import find_idle, find_problems, task_of
from caffe2_models.profiling import cost, feeds_for, random_feeds, time_net, time_operators
from caffe2_models.proto import caffe2_pb2

CHAIN = text_format.Parse(
    """
    name: "chain"
    op { type: "Conv" input: "x" input: "w" input: "b" output: "c" arg { name: "kernel" i: 3 } }
    op { type: "Relu" input: "c" output: "c" }
    op { type: "FC" input: "c" input: "fw" input: "fb" output: "y" }
    external_input: "x" external_input: "w" external_input: "b" external_input: "fw" external_input: "fb"
    external_output: "y"
    """,
    caffe2_pb2.NetDef(),
)

PARAMETERS = {
    "w": np.zeros((4, 3, 3, 3), np.float32),
    "b": np.zeros(4, np.float32),
    "fw": np.zeros((10, 144), np.float32),
    "fb": np.zeros(10, np.float32),
}

IMAGE = {"x": (1, 3, 8, 8)}


@pytest.fixture
def chain() -> Net:
    return Net(CHAIN, make_init(PARAMETERS))


def test_a_sound_net_has_no_problems(chain):
    assert find_problems(chain, IMAGE) == [] and find_idle(chain) == []


def test_all_problems_are_found_at_once():
    predict = caffe2_pb2.NetDef(external_input=["x"], external_output=["z", "gone"])
    add_operator(predict, "NoSuchOperator", ["x"], ["a"])
    add_operator(predict, "Relu", ["a"], ["follows"])
    add_operator(predict, "Relu", ["nowhere"], ["b"])
    add_operator(predict, "Conv", ["x", "w"], ["c"], kernel=9)
    add_operator(predict, "Int8Quantize", ["x"], ["q"], Y_scale=1.0, Y_zero_point=0)
    add_operator(predict, "Int8Add", ["q", "q"], ["z"], Y_scale=1e-5, Y_zero_point=0)
    problems = find_problems(Net(predict, make_init({"w": PARAMETERS["w"], "idle": PARAMETERS["b"]})), IMAGE)
    assert problems == [
        "predict: operator 0 (NoSuchOperator -> a): operator NoSuchOperator is not supported",
        "predict: operator 2 (Relu -> b): blob nowhere is read before anything writes it",
        "predict: operator 3 (Conv -> c): weight [4, 3, 3, 3] does not fit 3 channels, kernel (9, 9), group 1",
        "predict: operator 5 (Int8Add -> z): input to output scale ratio 100000 is outside [2^-14, 2^8), "
        "which QNNPACK refuses",
        "output gone is never written",
    ]


def test_parameters_that_nobody_reads_are_noted(chain):
    extended = Net(CHAIN, make_init({**PARAMETERS, "idle": PARAMETERS["b"]}))
    assert find_idle(extended) == ["parameter idle is never read"]


def test_cost_of_a_chain(chain):
    found = cost(chain, IMAGE)
    assert found.macs == 4 * 6 * 6 * 27 + 10 * 144
    assert found.parameters == 4 * 27 + 4 + 1440 + 10 and found.weight_bytes == 4 * found.parameters
    assert found.largest_pair_bytes == 4 * (3 * 64 + 4 * 36)  # the convolution's
    assert found.peak_bytes == found.largest_pair_bytes
    assert [row.parameters for row in found.operators] == [112, 0, 1450]
    json.dumps(found.to_dict())


def test_a_parameter_read_twice_counts_once():
    predict = caffe2_pb2.NetDef(external_input=["x"])
    add_operator(predict, "Mul", ["x", "p"], ["a"])
    add_operator(predict, "Mul", ["a", "p"], ["y"])
    assert cost(Net(predict, make_init({"p": np.ones(5, np.float32)})), {"x": (2, 5)}).parameters == 5


@pytest.mark.parametrize("backend", ["reference", "onnxruntime"])
def test_times_are_positive_one_for_each_operator(chain, backend):
    session = chain.session(backend, threads=1)
    times = time_operators(session, random_feeds(IMAGE), runs=2)
    assert len(times) == 3 and min(times) > 0
    assert time_net(session, random_feeds(IMAGE), runs=2) > 0


def test_quantized_operators_run_alone():
    net, feeds, _ = next(
        found for seed in range(20) if (found := random_net(np.random.default_rng(seed)))[0].is_quantized
    )
    assert len(time_operators(net.session(), feeds, runs=1)) == len(net.operators)


def script(root, *arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def test_inspect_net_shows_and_judges(root, chain, tmp_path):
    chain.save(tmp_path / "net")
    done = script(
        root,
        "scripts/inspect_net.py",
        "--c2-prefix",
        tmp_path / "net",
        "--img-size",
        8,
        "--json",
        tmp_path / "j",
    )
    assert done.returncode == 0 and "1,562 parameters" in done.stdout and "1x4x6x6" in done.stdout
    assert json.loads((tmp_path / "j").read_text())["macs"] == 5328
    done = script(root, "scripts/inspect_net.py", "--c2-prefix", tmp_path / "net", "--img-size", 9)
    assert done.returncode == 1 and "problem: predict: operator 2 (FC -> y)" in done.stdout


def test_inspect_net_converts_without_loss(root, tmp_path):
    rng = np.random.default_rng(0)
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38, *rng.normal(size=100)], np.float32)
    init = make_init({"w": special, "q": Int8Tensor(np.arange(256, dtype=np.uint8), 0.1, 7)}, 'naïve "name"\n')
    write_net(tmp_path / "a.pb", init)
    for source, target in [("a.pb", "b.pbtxt"), ("b.pbtxt", "c.pb")]:
        done = script(root, "scripts/inspect_net.py", "--convert", tmp_path / source, tmp_path / target)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "c.pb").read_bytes() == (tmp_path / "a.pb").read_bytes()
    assert load_net(tmp_path / "b.pbtxt").predict.SerializeToString() == init.SerializeToString()


def test_what_text_cannot_keep_is_refused(root, tmp_path):
    (tmp_path / "a.pb").write_bytes(caffe2_pb2.NetDef(name="x").SerializeToString() + b"\xf8\x7f\x01")  # field 2047
    done = script(root, "scripts/inspect_net.py", "--convert", tmp_path / "a.pb", tmp_path / "b.pbtxt")
    assert done.returncode == 2 and "which a text file cannot keep" in done.stderr
    assert not (tmp_path / "b.pbtxt").exists()


def test_caffe2_benchmark(root, chain, tmp_path):
    chain.save(tmp_path / "net")
    flags = ["--c2-prefix", tmp_path / "net", "--img-size", 8, "--runs", 2, "--json", tmp_path / "times.json"]
    done = script(root, "scripts/caffe2_benchmark.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "chain on onnxruntime, 1 thread:" in done.stdout and "3 operators" in done.stdout
    times = json.loads((tmp_path / "times.json").read_text())
    assert times["ms"] > 0 and all(row["ms"] > 0 for row in times["operators"])
    done = script(root, "scripts/caffe2_benchmark.py", *flags, "--runs", 0)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


NESTED = """
    op { type: "If" input: "c" output: "y"
         arg { name: "then_net" n { op { type: "Nope" input: "x" output: "y" } } }
         arg { name: "else_net" n {
             op { type: "Conv" input: "x" input: "w" output: "y" arg { name: "kernel" i: 3 } }
             op { type: "Relu" input: "nothing" output: "z" } } } }
    op { type: "RecurrentNetwork" input: "x" output: "h" arg { name: "step_net" n { op { type: "Never" } } } }
    external_input: "c" external_input: "x" external_input: "w" external_output: "y"
"""


def test_inputs_are_of_the_type_that_the_net_takes():
    text = """op { type: "PackedInt8BGRANHWCToNCHWCStylizerPreprocess" input: "bgra" input: "mean" output: "y"
                   arg { name: "noise_std" f: 0 } } external_input: "bgra" external_input: "mean" """
    net = Net(text_format.Parse(text, caffe2_pb2.NetDef()), make_init({"mean": np.zeros(3, np.float32)}))
    shapes = {"bgra": (1, 8, 8, 4)}
    assert net.inputs == ["bgra"] and not find_problems(net, shapes)
    assert feeds_for(net, shapes)["bgra"].dtype == np.uint8


def test_random_feeds_of_a_detector_tell_it_the_size_of_its_image():
    shapes = {name: value.shape for name, value in feeds_of(np.random.default_rng(0), 1).items()}
    feeds = feeds_for(detector(), {"image": (1, 3, 48, 56), **shapes})
    assert feeds["info"].tolist() == [[48, 56, 1]]


@pytest.mark.parametrize("kept", [0, 1])
def test_operators_are_timed_whichever_branch_is_taken(kept):
    net, feeds = detector(), feeds_of(np.random.default_rng(0), kept)
    assert len(time_operators(net.session("onnxruntime", threads=1), feeds, runs=1)) == len(net.operators)


def test_problems_within_nets_that_operators_hold_are_listed():
    init = make_init({"w": np.zeros((2, 3, 3, 3), np.float32), "c": np.array([True])})
    net = Net(text_format.Parse(NESTED, caffe2_pb2.NetDef()), init)
    assert find_problems(net, {"x": (1, 4, 8, 8)}) == [
        "predict: operator 0 (If -> y, z), then_net: operator 0 (Nope -> y): operator Nope is not supported",
        "predict: operator 0 (If -> y, z), else_net: operator 0 (Conv -> y): weight [2, 3, 3, 3] does not fit "
        "4 channels, kernel (3, 3), group 1",
        "predict: operator 0 (If -> y, z), else_net: operator 1 (Relu -> z): blob nothing is read before anything "
        "writes it",
        "predict: operator 1 (RecurrentNetwork -> h), step_net: operator 0 (Never -> nothing): operator Never is not "
        "supported",
    ]


def test_every_case_has_a_cost():
    for kind, make in CASES.items():
        case = make(np.random.default_rng(1))
        if all(value.dtype == np.float32 for value in case.feeds.values()):
            found = cost(case.net(), {name: value.shape for name, value in case.feeds.items()})
            assert found.macs >= 0 and found.peak_bytes > 0, kind


def test_the_list_of_operators_is_up_to_date(root):
    done = script(root, "scripts/list_operators.py")
    assert done.stdout == (root / "docs" / "operators.md").read_text(), "run scripts/list_operators.py"


def test_detectors_are_shown_with_the_most_that_they_may_take(shared):
    shapes = {name: value.shape for name, value in feeds_of(np.random.default_rng(0), 1).items()}
    costs = cost(detector(), shapes)
    rows = {row.type: row for row in costs.operators}
    assert not costs.is_exact and rows["RoIAlign"].shape_text == "up to 20x3x2x2"
    assert (rows["ConstantFill"].sizes, rows["ConstantFill"].shape_text) == ("exact", "1")
    assert costs.peak_bytes >= 4 * (20 * 12 * 3)  # within the branch: soft, s and answer


@pytest.mark.parametrize(
    ("graph", "task"),
    [
        ("mask_rcnn_2go_model_int8_model", "object detection (boxes and masks)"),
        ("detectron_e2e_faster_rcnn_R-50-C4_1x_predict_net", "object detection (boxes)"),
        ("resnet50_predict_net", None),  # without its weights
    ],
)
def test_the_task_shows(graph, task, shared):
    assert task_of(load_net(shared / "published" / "others" / f"{graph}.pbtxt")) == task


def test_the_task_of_classifiers():
    predict = caffe2_pb2.NetDef(name="net", external_input=["x"], external_output=["y"])
    add_operator(predict, "Softmax", ["x"], ["y"])
    assert task_of(Net(predict), {"x": (2, 10)}) == "classification (10 classes)"
    assert task_of(Net(predict), {"x": (1, 3, 5, 6)}) == "maps of scores (3x5x6)"
    assert task_of(Net(predict), {"x": (2, 3, 4)}) is None
