import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from caffe2_common.errors import ModelError
from caffe2_models import load_net
from caffe2_models.published import published_net
from runtime_lut import phone
from runtime_lut.operators import unique_cases
from runtime_lut.table import Table, find_table

# What speed_benchmark of Caffe2 1.8.1 prints (SimpleNet::TEST_Benchmark), here with three operators;
# logcat-like prefixes and other lines stand between.
RECORDED = """\
caffe2_lut lot 0 run {run}
I1120 18:04:11.123456  4711 speed_benchmark.cc:101] Starting
Starting benchmark.
Running warmup runs.
Main runs.
Main run finished. Milliseconds per iter: 1.2345. Iters per second: 810.045
Operator #0 (produce0, Copy) 0.0161 ms/iter
Operator #1 (op0, NCHW2NHWC) {first} ms/iter
Operator #2 (op1, Int8Quantize) 9.3e-05 ms/iter
Operator #3 (op2, Int8ConvRelu) 0.96 ms/iter (0.0216 GFLOP, 22.5 GFLOPS) (1.4 MB) (0.003 MB)
Time per operator type:
          0.96 ms.    70.2871%. Int8ConvRelu
         0.276 ms.    29.7129%. NCHW2NHWC
FLOP per operator type:
        0.0216 GFLOP.        100%. Int8ConvRelu
"""


@pytest.fixture(scope="module")
def cases():
    net = published_net("ChamNet-E/int8")
    return unique_cases([(net, net.input_shapes())])


@pytest.fixture
def folder(cases, tmp_path):
    phone.export(cases[:3], tmp_path / "phone")
    return tmp_path / "phone"


def record_runs(folder, times):
    text = "".join(RECORDED.format(run=run, first=ms) for run, ms in enumerate(times))
    (folder / "output.txt").write_text(text)


def test_recorded_output_becomes_records(folder, cases):
    record_runs(folder, [0.3, 0.276, 0.25])
    records = phone.read_back(folder, "my-phone", engine="caffe2")
    assert [r["op_type"] for r in records] == ["NCHW2NHWC", "Int8Quantize", "Int8ConvRelu"]
    assert [r["runtime_us_p50"] for r in records] == [276.0, 0.09, 960.0]
    assert (records[0]["runtime_us_p0"], records[0]["runtime_us_p100"]) == (250.0, 300.0)
    table = Table.of_records(records, "my-phone")
    assert [table.time(case.signature) for case in cases[:3]] == [276.0, 0.09, 960.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no time of operator 0"),
        (
            RECORDED.format(run=0, first=1).replace("op2", "op7"),
            r"no time of operator 2 \(Int8ConvRelu\) in lot 0",
        ),
        (RECORDED.format(run=0, first="nan"), "line 8: nan ms"),
        (RECORDED.format(run=0, first=1).partition("\n")[2], "line 6: a time before any line"),
    ],
)
def test_output_that_is_cut_short_or_strange_is_refused(folder, text, message):
    (folder / "output.txt").write_text(text)
    with pytest.raises(ModelError, match=message):
        phone.read_back(folder, "my-phone")


def test_missing_and_foreign_files_are_refused(folder, tmp_path):
    with pytest.raises(ModelError, match=r"has run\.sh finished"):
        phone.read_back(folder, "my-phone")
    (folder / "operators.json").write_text('[{"a": 1}]')
    with pytest.raises(ModelError, match="not the list of operators"):
        phone.read_back(folder, "my-phone")
    with pytest.raises(ModelError, match="is not empty"):
        phone.export([], folder)


def test_the_nets_are_whole(cases, tmp_path):
    """Every operator is in some net, whose init fills its inputs: speed_benchmark feeds no int8 blobs."""
    lots = phone.export(cases, tmp_path / "phone")
    names = []
    for lot in range(lots):
        net = load_net(tmp_path / f"phone/{lot}")
        assert list(net.walk({}))
        names += [f"{lot}/{node.name}" for node in net.operators if node.name.startswith("op")]
    assert len(names) == len(set(names)) == len(cases)


def test_the_script_runs_with_any_adb(cases, tmp_path):
    """The whole way with a stand-in for adb, which prints what a phone would; then the table is made."""
    folder = tmp_path / "with space"
    lots = phone.export(cases[:50], folder)
    adb = tmp_path / "bin/adb"
    adb.parent.mkdir()
    adb.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, re, sys\n"
        f"sys.path.insert(0, {str(Path(phone.__file__).parent.parent)!r})\n"
        "found = re.search(r'speed_benchmark\\s.*--net (\\d+)/predict_net.pb', sys.argv[-1], re.S)\n"
        "if found:\n"
        "    from caffe2_models import load_net\n"
        "    for index, node in enumerate(load_net(pathlib.Path(found[1])).operators):\n"
        "        print(f'Operator #{index} ({node.name}, {node.type}) 0.5 ms/iter')\n"
    )
    adb.chmod(0o755)
    environment = {**os.environ, "PATH": f"{adb.parent}:{os.environ['PATH']}", "RUNS": "2"}
    done = subprocess.run([folder / "run.sh", "/bin/true"], env=environment, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert (folder / "output.txt").read_text().count("caffe2_lut lot") == 2 * lots
    script = Path(phone.__file__).parent.parent / "scripts/build_lut.py"
    command = [sys.executable, script, "--from-phone", folder, "--device", "my-phone", "--out", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    table = Table.load(find_table(tmp_path, "my-phone"), "my-phone")
    assert {table.time(case.signature) for case in cases[:50]} == {500.0}


@pytest.mark.oracle
def test_the_real_caffe2_prints_and_takes_all_this(cases, tmp_path, caffe2_python):
    """Caffe2's own benchmark, run from its Python module, on the nets that go to the phone."""
    phone.export(cases[:10], tmp_path / "phone")
    code = (
        "import sys; from caffe2.python import workspace, core; from caffe2.proto import caffe2_pb2\n"
        "def read(name):\n"
        "    net = caffe2_pb2.NetDef(); net.ParseFromString(open(name, 'rb').read()); return net\n"
        "print('caffe2_lut lot 0 run 0', flush=True)\n"
        "workspace.RunNetOnce(read('0/init_net.pb')); net = read('0/predict_net.pb')\n"
        "workspace.CreateNet(net); workspace.BenchmarkNet(net.name, 1, 2, True)\n"
    )
    done = subprocess.run([caffe2_python, "-c", code], cwd=tmp_path / "phone", capture_output=True, text=True)
    (tmp_path / "phone/output.txt").write_text(done.stdout)
    records = phone.read_back(tmp_path / "phone", "here")
    assert len(records) == 10
    assert all(json.dumps(record) and record["runtime_us_p50"] >= 0 for record in records)
