"""Client scripts print with this caffe2 what they print with the real one, 1.8.1: each NAME.txt is its output."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from caffe2_mobile.compat.python import core, workspace
from caffe2_mobile.compat.runtime.devices import warn_of_device
from caffe2_mobile.compat.script import run_script

# What onnx 1.8 prints of itself whenever Caffe2's backend calls it.
NOTICE = re.compile(r"WARNING: ONNX Optimizer has been moved.*\n.*\n.*removed in 1\.9 release\.\n\n")

CLIENTS = Path(__file__).with_name("clients")
NAMES = sorted(path.stem for path in CLIENTS.glob("*.py"))


def arguments_of(name: str, request: pytest.FixtureRequest) -> list[str]:
    """What a client takes on its command line: files beside the repository."""
    wanted = {"classification": ["models"]}.get(name, [])
    return [str(request.getfixturevalue("shared") / path) for path in wanted]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The state of a process that has just imported caffe2."""
    monkeypatch.setattr(workspace, "operator_tracebacks", workspace.operator_tracebacks.copy())
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    core.Net._net_names_used.clear()
    core.ExecutionStep._step_names_used.clear()
    warn_of_device.cache_clear()
    for name in workspace.Workspaces():
        workspace.SwitchWorkspace(name)
        workspace.ResetWorkspace()
    workspace.SwitchWorkspace("default")
    for name in workspace.Workspaces():
        workspace.WORKSPACES.remove(name)
    yield
    for name in [name for name in sys.modules if name == "caffe2" or name.startswith("caffe2.")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", NAMES)
def test_client_prints_what_it_printed_with_caffe2(name, request, fresh, capsys):
    run_script(str(CLIENTS / f"{name}.py"), arguments_of(name, request))
    assert capsys.readouterr().out == (CLIENTS / f"{name}.txt").read_text()


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_expected_output_is_caffe2s_own(name, request, caffe2_python):
    command = [caffe2_python, str(CLIENTS / f"{name}.py"), *arguments_of(name, request)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert NOTICE.sub("", run.stdout) == (CLIENTS / f"{name}.txt").read_text()
