"""What all commands share: the exit status, errors in one line."""

import argparse
import dataclasses
import errno
import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from caffe2_common.errors import ModelError
from caffe2_common.extras import explaining_extras
from caffe2_common.files import require_writable
from caffe2_common.sizes import Dims, Size, parse_shape, parse_size

Options = TypeVar("Options")


def run(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run `main(argv)` as the whole program and exit with its status (None is 0).

    Bad input (ModelError, OSError) and a missing optional dependency become one line on stderr and status 2; `--debug`
    anywhere on the command line lets the traceback through.
    """
    argv = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(argv) < len(sys.argv) - 1
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console may lack a letter, µ say
    try:
        with explaining_extras():
            status = main(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ModelError, OSError) as error:
        if is_closed_pipe(error):  # whoever reads what is printed has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)  # what shells say of SIGPIPE
        if debug:
            raise
        print(f"{program_name()}: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status)


def is_closed_pipe(error: Exception) -> bool:
    """Whether it says that nobody reads what is printed; Windows has no error of its own for that."""
    if sys.platform == "win32" and isinstance(error, OSError):
        return error.errno in (errno.EINVAL, errno.EPIPE) and error.filename is None
    return isinstance(error, BrokenPipeError)


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, named as the program was called, with a wrong use said in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"prog": program_name()} | options))

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def program_name() -> str:
    """As one typed it: `caffe2-mobile VERB`, or the name of a file."""
    return Path(sys.argv[0]).name


def one_line(error: Exception) -> str:
    """The error's text on one line; a file error names its file first."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def note(line: str) -> None:
    """Say what the user should know beside the results, on stderr."""
    print(line, file=sys.stderr, flush=True)


def positive(text: str) -> int:
    """An integer above zero, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def size(text: str) -> Size:
    """N or HxW, for argparse."""
    try:
        return parse_size(text)
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def shape(text: str) -> tuple[str, Dims]:
    """NAME=1x3x48x320, for argparse."""
    try:
        return parse_shape(text)
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def options_from(kind: type[Options], args: argparse.Namespace) -> Options:
    """Options whose fields are flags of the same names; those without a flag keep their defaults."""
    names = {field.name for field in dataclasses.fields(kind)} & vars(args).keys()  # type: ignore[arg-type]
    given = {name: getattr(args, name) for name in names}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def show_log() -> None:
    """Print what the API tells of its progress on stdout, and its warnings on stderr."""
    progress, warning = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    progress.addFilter(lambda record: record.levelno < logging.WARNING)
    warning.setLevel(logging.WARNING)
    warning.setFormatter(logging.Formatter("warning: %(message)s"))
    logger = logging.getLogger("caffe2_mobile")
    logger.setLevel(logging.INFO)
    logger.handlers, logger.propagate = [progress, warning], False


def require_writable_net(prefix: str) -> None:
    """Raises ModelError where PREFIX.init.pb and PREFIX.predict.pb could not be written in the end."""
    for part in ("init", "predict"):
        require_writable(f"{prefix}.{part}.pb")
