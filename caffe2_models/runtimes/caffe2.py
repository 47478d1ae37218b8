"""The caffe2 runtime: the real Caffe2, in this interpreter or in the one that CAFFE2_PYTHON names."""

import functools
import importlib.util
import itertools
import os
import signal
import subprocess
import tempfile
import threading
import weakref
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.node import Step
from caffe2_models.runtimes import caffe2_server
from caffe2_models.runtimes.session import Session
from caffe2_models.tensors import Int8Tensor, Value

INTERPRETER = "CAFFE2_PYTHON"
REMEDY = f"set {INTERPRETER} to an interpreter that has it (scripts/setup_caffe2.sh makes one)"

_numbers = itertools.count()


class Caffe2Session(Session):
    """A net in the real Caffe2. A crash of Caffe2 (some bad operators abort it) is one ModelError."""

    backend = "caffe2"

    def __init__(self, net, threads=None):
        super().__init__(net, threads)
        self._number = next(_numbers)
        self._engine = self._load()

    def steps(self, feeds: dict[str, Value], outputs: list[str]) -> list[Step]:
        """None: Caffe2 itself says what it cannot compute."""
        return []

    def _run(self, feeds, outputs):
        reply = self._ask({"command": "run", "outputs": outputs}, feeds)
        return {name: _from_wire(value) for name, value in reply[1]}

    def benchmark(self, feeds: dict[str, Value], warmup: int, runs: int) -> list[float]:
        """Milliseconds of the whole net, then of each operator, by Caffe2's own clock."""
        return self._ask({"command": "benchmark", "warmup": warmup, "runs": runs}, feeds)[0]["milliseconds"]

    def processor_time(self, feeds: dict[str, Value]) -> float:
        """Milliseconds of processor time of the whole net: what it costs where others work beside it."""
        return self._ask({"command": "processor_time"}, feeds)[0]["milliseconds"]

    def _ask(self, header, feeds):
        if not self._engine.alive:
            self._engine = self._load()
        return self._engine.ask({**header, "number": self._number}, [(k, _to_wire(v)) for k, v in feeds.items()])

    def _load(self):
        engine = _engine(self.threads)
        predict = type(self.net.predict)()
        predict.CopyFrom(self.net.predict)
        predict.name = f"net{self._number}"
        protos = [(name, np.frombuffer(proto.SerializeToString(), np.uint8)) for name, proto in
                  [("init", self.net.init), ("predict", predict)]]  # fmt: skip
        engine.ask({"command": "load", "number": self._number, "inputs": self.net.inputs}, protos)
        self.close = weakref.finalize(self, engine.dropped.append, self._number)  # gives the memory back
        return engine


class Engine:
    """A Caffe2 that answers requests, one at a time; several sessions share it.

    dropped holds the numbers of nets whose sessions are gone: their memory is given back before the next
    request.
    """

    @property
    def alive(self) -> bool:
        return True

    def __init__(self):
        self.dropped: list[int] = []
        self._turn = threading.Lock()

    def ask(self, header: dict, arrays=()) -> tuple[dict, list]:
        """(header, arrays) of the reply. Raises ModelError where Caffe2 refuses, or dies."""
        with self._turn:
            while self.dropped:
                self._exchange({"command": "unload", "number": self.dropped.pop()}, ())
            return self._exchange(header, arrays)

    def _exchange(self, header, arrays):
        raise NotImplementedError


class InProcess(Engine):
    """Caffe2 in this interpreter."""

    def __init__(self, threads):
        super().__init__()
        self._server = caffe2_server.Server(threads)

    def _exchange(self, header, arrays):
        try:
            return caffe2_server.answer(self._server, header, list(arrays))
        except RuntimeError as error:
            raise ModelError(f"Caffe2: {_first_line(str(error))}") from None


class ChildProcess(Engine):
    """Caffe2 in another interpreter, asked over a pipe."""

    def __init__(self, interpreter: str, threads: int | None):
        super().__init__()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the object
        arguments = [interpreter, caffe2_server.__file__, *([str(threads)] if threads is not None else [])]
        environment = dict(os.environ)
        environment.pop("PYTHONPATH", None)
        if threads is not None:
            environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        try:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=environment
            )
        except OSError as error:
            raise ModelError(f"{INTERPRETER}={interpreter}: cannot be started ({error.strerror}); {REMEDY}") from None
        if caffe2_server.read_message(self._process.stdout) is None:
            raise ModelError(f"{INTERPRETER}={interpreter} has no Caffe2 ({self._last_words()}); {REMEDY}")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _exchange(self, header, arrays):
        self._log.seek(0)  # the child writes at this offset too
        self._log.truncate()
        try:
            caffe2_server.write_message(self._process.stdin, header, arrays)
            reply = caffe2_server.read_message(self._process.stdout)
        except OSError:
            reply = None
        except BaseException:  # an interrupt leaves the pipe in the middle of a message
            self.close()
            raise
        if reply is None:
            raise ModelError(f"Caffe2 {self._cause_of_death()}: {self._last_words()}")
        if "error" in reply[0]:
            raise ModelError(f"Caffe2: {_first_line(reply[0]['error'])}")
        return reply

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._log.close()

    def _cause_of_death(self) -> str:
        status = self._process.wait()
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if "Check failed" in line or "Error" in line or "fail" in line]
        return _first_line((telling or lines or ["no message"])[-1])


def _engine(threads: int | None) -> Engine:
    """The Caffe2 to ask; one for each number of threads, started when needed, and anew after a crash."""
    interpreter = os.environ.get(INTERPRETER)
    engine = _start_engine(interpreter, threads)
    if not engine.alive:
        _start_engine.cache_clear()
        engine = _start_engine(interpreter, threads)
    return engine


@functools.lru_cache(maxsize=4)
def _start_engine(interpreter: str | None, threads: int | None) -> Engine:
    if _is_importable():
        return InProcess(threads)
    if not interpreter:
        raise ModelError(f"Caffe2 is not installed here; {REMEDY}")
    return ChildProcess(str(Path(interpreter).expanduser()), threads)


def _is_importable() -> bool:
    try:
        return importlib.util.find_spec("caffe2.python") is not None
    except ImportError:
        return False


def _to_wire(value: Value):
    if isinstance(value, Int8Tensor):
        return caffe2_server.Int8Array(value.data, value.scale, value.zero_point)
    return value


def _from_wire(value) -> Value:
    if isinstance(value, caffe2_server.Int8Array):
        return Int8Tensor(value.data, value.scale, value.zero_point)
    return value


def _first_line(text: str) -> str:
    """The telling part of a Caffe2 error: its first line, without the place in the source."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    return line.partition("] ")[2] if line.startswith("[enforce fail") and "] " in line else line
