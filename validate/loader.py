"""Images decoded in worker processes into shared memory, while the net runs in this one.

A ring of slots, each one batch of float32 NCHW input, lies in memory that all processes share: a worker
decodes a batch straight into a slot, the net reads it there, then the slot takes the next batch. Nothing
but indices travels between processes, and memory does not grow with the number of images.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.images import MAX_PIXELS, normalize, pixel_table, read_crop
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import pair_of
from validate.dataset import Dataset

SLOTS_PER_WORKER = 2  # one that is being filled, one in wait

# Forked workers start at once and share what is loaded; elsewhere than on Linux fork is not safe, or not there.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"


@dataclass(frozen=True, eq=False)
class Batch:
    """Decoded images: pixels, float32 [batch_size, channels, size, size], is shared until it is released.

    positions tell which of the images asked for its first rows are, the rest is zeros, so that every batch
    has one shape; broken holds (position, reason) of images left out.
    """

    slot: int
    positions: np.ndarray
    pixels: np.ndarray
    broken: list[tuple[int, str]]


class Loader:
    """Batches of a dataset's images, as workers finish them. next and release are thread-safe."""

    def __init__(
        self,
        dataset: Dataset,
        indices: np.ndarray,
        batches: Iterable[np.ndarray],
        preprocessing: Preprocessing,
        channels: int,
        batch_size: int,
        workers: int,
        extra_slots: int,
        max_pixels: int = MAX_PIXELS,
    ):
        """batches are arrays of positions in `indices`; extra_slots: how many batches the net has in hand."""
        context = multiprocessing.get_context(START_METHOD)
        self._todo = iter(batches)
        self._receiving, self._sending = threading.Lock(), threading.Lock()
        self._closed = False
        slots = workers * SLOTS_PER_WORKER + extra_slots
        shape = (slots, batch_size, channels, *pair_of(preprocessing.size))
        memory = context.RawArray(ctypes.c_float, int(np.prod(shape)))
        self._pixels = _as_array(memory, shape)
        self._workers = [
            _Worker(context, (dataset, indices, preprocessing, channels, memory, shape, max_pixels))
            for _ in range(workers)
        ]
        for slot in range(slots):
            self._fill(slot)

    def next(self) -> Batch | None:
        """The next batch that is ready, or None after the last."""
        with self._receiving:
            while busy := {worker.connection: worker for worker in self._workers if worker.tasks}:
                for connection in wait(list(busy), timeout=1):
                    assert isinstance(connection, Connection)
                    try:
                        slot, good, broken = connection.recv()
                    except (EOFError, OSError):
                        raise ModelError(
                            "a decoding process ended unexpectedly (out of memory?); try fewer with -j"
                        ) from None
                    busy[connection].tasks -= 1
                    return Batch(slot, np.array(good, np.int64), self._pixels[slot], broken)
        return None

    def release(self, batch: Batch) -> None:
        """Give the batch's memory to the next one."""
        self._fill(batch.slot)

    def close(self) -> None:
        """End the workers; threads that wait in next get an error."""
        self._closed = True
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_):
        self.close()

    def _fill(self, slot: int) -> None:
        with self._sending:
            positions = None if self._closed else next(self._todo, None)
            if positions is None:
                return
            worker = min(self._workers, key=lambda worker: worker.tasks)
            worker.tasks += 1
            with contextlib.suppress(OSError):  # of a dead worker, which next reports
                worker.connection.send((slot, positions))


def _as_array(memory: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Shared floats as float32 of this shape."""
    return np.frombuffer(memory, np.float32).reshape(shape)


class _Worker:
    """A decoding process, this process's end of its pipe, and how many batches it has to do."""

    def __init__(self, context, arguments: tuple):
        self.connection, far_end = context.Pipe()
        self.tasks = 0
        self.process = context.Process(target=_decode, args=(far_end, os.getpid(), *arguments), daemon=True)
        self.process.start()
        far_end.close()


def _decode(
    connection: Connection,
    parent: int,
    dataset: Dataset,
    indices: np.ndarray,
    preprocessing: Preprocessing,
    channels: int,
    memory: ctypes.Array,
    shape: tuple[int, ...],
    max_pixels: int,
) -> None:
    """A worker's life: (slot, positions) in; (slot, positions decoded, broken ones with the reason) out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warnings.simplefilter("ignore")  # Pillow's, of odd metadata
    pixels = _as_array(memory, shape)
    table = pixel_table(preprocessing)
    while True:
        try:
            while not connection.poll(1):
                if os.getppid() != parent:
                    return
            slot, positions = connection.recv()
        except (EOFError, OSError):  # the other end is gone
            return
        good: list[int] = []
        broken: list[tuple[int, str]] = []
        for position in positions.tolist():
            try:
                crop = read_crop(dataset.read(indices[position]), preprocessing, channels, max_pixels)
            except Exception as error:  # whatever a decoder makes of broken content
                broken.append((position, " ".join(str(error).split()) or type(error).__name__))
            else:
                normalize(crop, table, pixels[slot, len(good)])
                good.append(position)
        pixels[slot, len(good) :] = 0
        connection.send((slot, good, broken))
