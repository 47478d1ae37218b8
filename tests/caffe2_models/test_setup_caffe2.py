"""scripts/setup_caffe2.sh: keeps what works, and says why where it cannot make it."""

import shutil
import subprocess
from pathlib import Path

import pytest


def run_setup(root, *arguments, **environment):
    command = [shutil.which("bash"), root / "scripts" / "setup_caffe2.sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment or None)


@pytest.mark.oracle
def test_a_working_environment_is_kept(root, caffe2_python):
    folder = Path(caffe2_python).parent.parent
    if not (folder / "pyvenv.cfg").exists():
        pytest.skip("CAFFE2_PYTHON is in no environment of its own")
    done = run_setup(root, folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{folder}/bin/python\n", "")


def test_a_folder_that_is_no_environment_is_left_alone(root, tmp_path):
    (tmp_path / "precious").write_text("")
    done = run_setup(root, tmp_path)
    assert done.returncode == 1 and "is no environment; name another folder" in done.stderr
    assert done.stdout == "" and (tmp_path / "precious").exists()


def test_without_a_fitting_python_it_says_so(root, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "dirname").symlink_to(shutil.which("dirname"))
    done = run_setup(root, tmp_path / "new", PATH=str(tools), PYENV_ROOT=str(tmp_path), HOME=str(tmp_path))
    assert done.returncode == 1 and done.stdout == ""
    assert "no Python 3.8 or 3.9 on PATH or under pyenv" in done.stderr
    assert not (tmp_path / "new").exists()
