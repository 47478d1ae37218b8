"""Run a script that imports caffe2.python, with the project's own in its place: caffe2-mobile run SCRIPT ARGS...

The script's arguments, output and exit status are as `python SCRIPT ARGS...` has them.
"""

import sys
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from caffe2_mobile.commands.program import ArgumentParser
from caffe2_mobile.compat.script import run_script


def main(argv: list[str]) -> NoReturn:
    """What the script raises passes: its errors are not bad input of this command's."""
    before, script, after = split(argv)
    parser = ArgumentParser(usage="caffe2-mobile run [--replace] SCRIPT ARGS...", description=__doc__)
    parser.add_argument("--replace", action="store_true", help="even where a real Caffe2 is installed")
    args = parser.parse_args(before)
    if script is None:
        parser.error("SCRIPT is missing")
    if not Path(script).is_file():
        parser.error(f"{script}: no such file")
    try:
        run_script(script, after, args.replace)
    except Exception as error:
        error.__traceback__ = script_frames(error.__traceback__, script)
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)
    sys.exit(0)


def script_frames(traceback: TracebackType | None, script: str) -> TracebackType | None:
    """A traceback from where the script begins: what runs it is no part of the story."""
    frame = traceback
    while frame is not None and frame.tb_frame.f_code.co_filename != script:
        frame = frame.tb_next
    return frame or traceback


def split(argv: list[str]) -> tuple[list[str], str | None, list[str]]:
    """(own flags, script, the script's arguments): the script is the first that is no flag."""
    place = next((index for index, argument in enumerate(argv) if not argument.startswith("-")), len(argv))
    return argv[:place], (argv[place] if place < len(argv) else None), argv[place + 1 :]
