"""`caffe2` as a name: the same modules, what refuses, a real Caffe2 beside it, and the command that runs scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caffe2_mobile.commands.run import main

SAME = """
import caffe2_mobile.compat
caffe2_mobile.compat.install()
caffe2_mobile.compat.install()
import caffe2.python.workspace as first
from caffe2.python import workspace as second
import caffe2_mobile.compat.python.workspace as third
from caffe2.proto import caffe2_pb2
import caffe2_models.proto.caffe2_pb2 as own
assert first is second is third and first.__spec__.name == "caffe2_mobile.compat.python.workspace"
assert caffe2_pb2.NetDef is own.NetDef and caffe2_pb2.CPU == caffe2_pb2.PROTO_CPU == 0
assert caffe2_pb2.CUDA == caffe2_pb2.PROTO_CUDA == 1
import caffe2.python._import_c_extension as C
assert C is first.C
import sys
assert "torch" not in sys.modules
print("same")
"""

REFUSED = """
import caffe2_mobile.compat
caffe2_mobile.compat.install()
from caffe2.python import core, data_parallel_model, model_helper, optimizer, workspace
from caffe2.python.layers.tags import Tags
from caffe2.python import brew
def refusal(call):
    try:
        call()
    except (NotImplementedError, RuntimeError) as error:
        print(error)
refusal(lambda: optimizer.build_sgd(None, 0.1))
refusal(lambda: Tags("x"))
model = model_helper.ModelHelper("m")
brew.fc(model, "x", "y", 2, 2)
refusal(lambda: model.AddGradientOperators(["y"]))
model.net.MomentumSGD(["x", "x", "x"], ["x", "x"])
model.net.Adagrad(["x", "x", "x", "x"], ["x", "x"])
refusal(lambda: workspace.RunNetOnce(model.net))
try:
    import caffe2.contrib.nothing
except ModuleNotFoundError as error:
    print(error)
"""

DEVICES = """
import caffe2_mobile.compat
caffe2_mobile.compat.install()
import numpy as np
from caffe2.python import core, workspace
from caffe2.proto import caffe2_pb2
with core.DeviceScope(core.DeviceOption(caffe2_pb2.CUDA, 0)):
    workspace.FeedBlob("x", np.array([-1, 1], np.float32))
    net = core.Net("gpu")
    net.CopyCPUToGPU("x", "x_gpu")
    net.Relu("x_gpu", "y_gpu")
    net.CopyGPUToCPU("y_gpu", "y")
net.RunAllOnGPU()
for _ in range(3):
    workspace.RunNetOnce(net)
print(workspace.FetchBlob("y"))
"""


def run(root: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(root), path]))}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def test_modules_are_the_same_under_both_names(root):
    result = run(root, "-c", SAME)
    assert (result.stdout, result.stderr, result.returncode) == ("same\n", "", 0)


def test_what_trains_is_imported_and_refused_by_name(root):
    result = run(root, "-c", REFUSED)
    assert result.stdout.splitlines() == [
        "caffe2.python.optimizer.build_sgd is not in caffe2-mobile: it trains; scripts for inference run here",
        "caffe2.python.layers.tags.Tags is not in caffe2-mobile: nets of layers for ranking are not built here",
        "ModelHelper.AddGradientOperators is not in caffe2-mobile: it trains; nets for inference run here",
        "Adagrad is not run: it trains; nets for inference run here; "
        "MomentumSGD is not run: it trains; nets for inference run here",
        "No module named 'caffe2.contrib'",
    ], result.stderr


def test_other_devices_are_the_cpu_with_one_warning(root):
    result = run(root, "-c", DEVICES)
    assert result.stdout == "[0. 1.]\n"
    assert result.stderr == "there is no CUDA here: what asks for it runs on the CPU\n"


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder with another package called caffe2."""
    package = tmp_path / "site" / "caffe2" / "python"
    package.mkdir(parents=True)
    for name in ("__init__.py", "../__init__.py", "workspace.py"):
        (package / name).touch()
    return tmp_path / "site"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(
        "import sys\nfrom caffe2.python import workspace\n"
        "print(workspace.__name__, sys.argv[1:], sys.path[0], __name__)\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    return path


def test_a_script_runs_as_python_runs_it(root, script):
    result = run(root, "-m", "caffe2_mobile", "run", str(script), "5", "--debug", "--replace")
    name = "caffe2_mobile.compat.python.workspace"
    assert result.stdout == f"{name} ['5', '--debug', '--replace'] {script.parent} __main__\n"
    assert (result.stderr, result.returncode) == ("", 5)


def test_a_scripts_error_is_its_own(root, script):
    result = run(root, "-m", "caffe2_mobile", "run", str(script), "five")
    assert result.returncode == 1
    first, frame, *_, last = result.stderr.splitlines()
    assert first.startswith("Traceback") and frame == f'  File "{script}", line 4, in <module>'
    assert last.startswith("ValueError: invalid literal")


@pytest.mark.parametrize("arguments", [[], ["--nothing"], ["absent.py"]])
def test_wrong_use_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert (stopped.value.code, capsys.readouterr().err.count("\n")) == (2, 1)


def test_a_real_caffe2_is_shadowed_only_when_asked(root, real, script):
    origin = f"{real}/caffe2/__init__.py"
    kept = run(root, "-m", "caffe2_mobile", "run", str(script), "0", path=str(real))
    assert kept.stdout.startswith("caffe2.python.workspace ")
    assert kept.stderr == f"caffe2: the one that is installed at {origin} is used, not caffe2-mobile's\n"
    replaced = run(root, "-m", "caffe2_mobile", "run", "--replace", str(script), "0", path=str(real))
    assert replaced.stdout.startswith("caffe2_mobile.compat.python.workspace ")
    assert replaced.stderr == f"caffe2: caffe2-mobile's is used in place of the one at {origin}\n"


def test_the_forwarding_distribution_is_no_real_caffe2(root, script):
    forwarded = run(root, str(script), "0", path=str(root / "compat"))
    assert forwarded.stdout.startswith("caffe2_mobile.compat.python.workspace "), forwarded.stderr
    run_again = run(root, "-m", "caffe2_mobile", "run", str(script), "0", path=str(root / "compat"))
    assert (run_again.stdout, run_again.stderr) == (forwarded.stdout, "")
