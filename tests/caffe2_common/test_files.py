"""Files that are written whole or not at all, and errors that name them."""

import os
import resource
import signal
import subprocess
import sys

import pytest

from caffe2_common.errors import ModelError
from caffe2_common.files import require_writable, write_atomically


def test_a_full_disk_is_said_of_the_file_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the disk: its error has no file's name either."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    program = "import sys; from caffe2_common.files import write_atomically; write_atomically(sys.argv[1], b'x' * 9999)"
    command = [sys.executable, "-c", program, tmp_path / "results.json"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=limit,
        env={"PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stderr.splitlines()[-1].endswith(f"File too large: '{tmp_path}/results.json'")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("")
    require_writable(tmp_path / "new" / "folder" / "r.json")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ModelError, match=r"file/r.json: .*file is not a folder"):
        require_writable(tmp_path / "file" / "r.json")
    with pytest.raises(ModelError, match="is a folder; give the name of a file"):
        require_writable(tmp_path)


def test_an_interrupted_write_keeps_what_was_there(tmp_path):
    write_atomically(tmp_path / "a" / "r.txt", "old")
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "a" / "r.txt", 3)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["r.txt"]
    assert (tmp_path / "a" / "r.txt").read_text() == "old"
