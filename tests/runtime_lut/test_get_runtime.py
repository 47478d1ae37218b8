"""The command, as users run it."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from runtime_lut.table import devices_in

X86 = "x86_64-avx512-caffe2_1.8.1-1t"


@pytest.fixture
def get_runtime(root, cache):
    """Runs the command; returns the finished process."""

    def run(*arguments, script="get_runtime.py", **environment):
        command = [sys.executable, str(root / script), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=root.parent
        )

    return run


@pytest.mark.parametrize("script", ["get_runtime.py", "runtime_lut/scripts/get_runtime.py"])
def test_it_prints_what_the_reference_tool_prints(get_runtime, shared, script):
    done = get_runtime(
        "--model_path", shared / "models/mobilenet_v1_0.5_160_quant", "--db_dir", shared / "lut/peer",
        "--input_dims", '{"data": [1, 3, 160, 160]}', script=script,
    )  # fmt: skip
    assert done.stdout == (shared / "lut/peer/expected_stdout.txt").read_text()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_published_name_without_any_table_is_estimated(get_runtime, tmp_path):
    done = get_runtime("--model_path", "ChamNet-A/int8", "--json", tmp_path / "out.json")
    found, total = done.stdout.splitlines()[-2:]
    assert found == "All operators found in the table? False"
    assert float(re.match(r"The network run-time latency is ([\d.]+) ", total)[1]) == pytest.approx(24700, rel=0.1)
    assert "ESTIMATED" in total
    assert "run_time" not in done.stdout
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["device"] == "SM-G950U-7.0-24"
    assert content["provenance"] == {"estimated": 69}
    assert content["all_found"] is False


def test_the_only_table_in_the_folder_is_taken(get_runtime, shared):
    done = get_runtime("--model_path", "FBNet-A/fp32,ChamNet-E/int8", "--db_dir", shared / "lut", "--strict")
    assert done.returncode == 0
    assert done.stdout.count("All operators found in the table? True") == 2
    assert f"FBNet-A/fp32 on {X86}" in done.stdout


def test_strict_fails_where_an_operator_is_missing(get_runtime, shared):
    arguments = ["--model_path", "ChamNet-E/int8", "--db_dir", shared / "lut/peer", "--strict"]
    for more in ([], ["--estimate"]):
        done = get_runtime(*arguments, *more)
        assert done.returncode == 1
        assert "All operators found in the table? False" in done.stdout
    assert get_runtime(*arguments[:-1]).returncode == 0


def test_graphs_without_weights_and_other_batches(get_runtime, shared):
    folder = shared / "published/ChamNet-E/int8"
    arguments = ["--db_dir", shared / "lut", "--json", "-"]
    official = json.loads(
        get_runtime("--model_path", folder, "--input_dims", '{"data":[1,3,160,160]}', *arguments).stdout
    )
    by_name = json.loads(get_runtime("--model_path", "ChamNet-E/int8", *arguments).stdout)
    assert official["latency_us"] == by_name["latency_us"]
    two = json.loads(get_runtime("--model_path", "ChamNet-E/int8", "--batch", "2", *arguments, "--estimate").stdout)
    assert two["macs"] == 2 * by_name["macs"]
    assert not two["all_found"]
    assert 1.5 < two["latency_us"] / by_name["latency_us"] < 2.1


def test_files_are_found_with_what_belongs_to_them(get_runtime, shared, tmp_path):
    for name in ("predict", "init"):
        source = shared / f"models/mobilenet_v1_0.25_128_quant/{name}_net.pb"
        shutil.copy(source, tmp_path / f"mine.{name}.pb")
    arguments = ["--db_dir", shared / "lut/peer", "--input_dims", '{"data":[1,3,128,128]}', "--by", "type"]
    one = get_runtime("--model_path", tmp_path / "mine.predict.pb", *arguments)
    other = get_runtime("--model_path", shared / "models/mobilenet_v1_0.25_128_quant", *arguments)
    assert one.returncode == 0
    assert one.stdout == other.stdout


def test_an_onnx_file_is_converted(get_runtime, tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    data = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 8, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["data"], ["out"])], "g", [data], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), tmp_path / "relu.onnx")
    done = get_runtime("--model_path", tmp_path / "relu.onnx", "--input_dims", '{"data": [1, 3, 8, 8]}')
    assert "op type Relu with input [[1, 3, 8, 8]]" in done.stdout


def test_a_model_of_the_zoo_in_int8(get_runtime, shared):
    """fbnet_c of the zoo is FBNet-C with a kernel or two exchanged: its time is FBNet-C's."""
    pytest.importorskip("torch")
    arguments = ["--db_dir", shared / "lut", "--json", "-", "--estimate"]
    zoo = json.loads(get_runtime("--model_path", "fbnet_c", "--int8", *arguments).stdout)
    published = json.loads(get_runtime("--model_path", "FBNet-C/int8", *arguments).stdout)
    assert zoo["macs"] == pytest.approx(published["macs"], rel=0.05)
    assert zoo["latency_us"] == pytest.approx(published["latency_us"], rel=0.1)
    assert zoo["provenance"]["exact"] > 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model_path", "nonsense"], "nonsense: no folder or file"),
        (["--model_path", ","], "names no model"),
        (["--model_path", "ChamNet-Z/int8"], "ChamNet-A/int8"),
        (["--model_path", "ChamNet-A/int8", "--db_dir", "nowhere"], "nowhere: no such folder"),
        (["--model_path", "ChamNet-A/int8", "--device", "Nokia"], "no table of Nokia"),
        (["--model_path", "ChamNet-A/int8", "--input_dims", "[1]"], "is not of the form"),
        (["--model_path", "ChamNet-A/int8", "--input_dims", '{"data": [1, 3, -1, 8]}'], "is not of the form"),
        (["--model_path", "ChamNet-A/int8", "--input_dims", '{"x": [1, 3, 8, 8]}'], "data"),
        (["--model_path", "ChamNet-A/int8", "--input_dims", '{"data": [1, 4, 8, 8]}'], "operator 2"),
        (["--model_path", "ChamNet-A/int8", "--top", "0"], "at least 1"),
        (["--model_path", "ChamNet-A/int8", "--plot", "out.nonsense"], "out.nonsense"),
    ],
)
def test_bad_input_is_one_line_and_status_2(get_runtime, arguments, message):
    done = get_runtime(*arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_it_starts_without_what_it_does_not_need(root, cache):
    """Half a second is not enough for these."""
    heavy = ["torch", "onnx", "onnxruntime", "matplotlib", "PIL", "tqdm"]
    code = (
        "import sys, runpy; sys.argv = ['get_runtime.py', '--model_path', 'ChamNet-A/int8']\n"
        "try: runpy.run_path('get_runtime.py', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"assert not [name for name in {heavy} if name in sys.modules], list(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, stdout=subprocess.DEVNULL)


def test_shared_tables_are_listed(shared):
    assert devices_in(shared / "lut") == [X86]
    assert devices_in(shared / "facts") == []
