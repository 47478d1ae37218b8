"""What every command does with errors, statuses and a reader that goes away."""

import errno
import subprocess
import sys

import pytest

from caffe2_common.errors import ModelError
from caffe2_mobile.commands.program import is_closed_pipe

PROGRAM = """
import sys
from caffe2_mobile.commands.program import run
from caffe2_common.errors import ModelError
def main(argv):
    {body}
run(main)
"""


def call(body, *argv, **options):
    command = [sys.executable, "-c", PROGRAM.format(body=body), *argv]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=600, **options)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("return None", 0, ""),
        ("return 1", 1, ""),
        ("raise ModelError('net.pb: broken\\n  in two lines')", 2, "-c: net.pb: broken in two lines\n"),
        ("open('none.pb')", 2, "-c: none.pb: No such file or directory\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_status_and_one_line(body, status, said):
    done = call(body)
    assert (done.returncode, done.stderr) == (status, said)


def test_debug_shows_where():
    done = call("raise ModelError('broken')", "--debug")
    assert done.returncode == 1 and "Traceback" in done.stderr and "ModelError: broken" in done.stderr


def test_a_reader_that_goes_away_is_no_error():
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        done = call("print('x' * 100_000)", stdout=reader.stdin)
    assert (done.returncode, done.stderr) == (141, "")


def test_windows_says_otherwise_that_a_reader_went_away(monkeypatch):
    assert is_closed_pipe(BrokenPipeError())
    assert not is_closed_pipe(OSError(errno.EINVAL, "Invalid argument"))
    monkeypatch.setattr(sys, "platform", "win32")
    assert is_closed_pipe(OSError(errno.EINVAL, "Invalid argument"))
    assert not is_closed_pipe(OSError(errno.EINVAL, "Invalid argument", "a?.pb"))
    assert not is_closed_pipe(ModelError("a?.pb: no such file"))
