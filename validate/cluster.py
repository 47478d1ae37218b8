"""A validation spread over the nodes of a Ray cluster, in pieces of a few batches.

The project has to be importable, and the net and the images have to be at the same paths, on every node. Needs the
extra `cluster` (pip install 'caffe2-mobile[cluster]').

The driver keeps the outcomes and the state. A piece is a pure function of what it is asked for, so that one whose
worker or node is lost is computed again elsewhere, and nothing else is.
"""

import contextlib
import functools
import logging
import os
import pickle
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.progress import progress
from validate.classifier import Classifier
from validate.dataset import Dataset, select
from validate.outcomes import Outcomes
from validate.runner import SAVE_SECONDS, Resources, Run, batches_of
from validate.validation import Selection, Validation

CONNECT_SECONDS = 5.0
WAIT_SECONDS = 2.0  # between looks at whether any node can still do the work
JOIN_SECONDS = 60.0  # until a node that can has to be there: they join late, and come again
PIECES_PER_SLOT = 8  # so that a slow node, or a lost one, holds up little
MAX_PIECE = 256  # images
RETRIES = 3  # of a piece whose worker died

# Ray's own processes write to the terminal unless they are told not to; what went wrong is said by our errors.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}

# Where the package that holds this module is imported from, in a checkout as in an installed wheel.
IMPORT_ROOT = Path(__file__).resolve().parents[__name__.count(".")]


@dataclass(frozen=True)
class Job:
    """What a worker needs to know once; a piece is a list of positions among its images."""

    open_classifier: Callable[[], Classifier]
    selection: Selection
    preprocessing: Preprocessing
    resources: Resources
    images: str  # the data set's fingerprint
    folder: str  # in which relative paths are meant


def run_on_cluster(
    validation: Validation, open_classifier: Callable[[], Classifier], address: str, workers: int | None = None
) -> None:
    """Validation.run on the cluster at an address: `auto` the one of this machine, `local` a new one on it.

    open_classifier: what gives the validation's classifier on any node; it is pickled. workers: cores for a piece, as
    decoding processes and inference threads (default: all of the smallest node).
    Raises ModelError where the cluster is not reachable, has no node with so many cores, or a piece cannot be run.
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    import ray

    _require_reachable(address)
    dashboard = False if address == "local" else None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, include_dashboard=dashboard)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ModelError(f"Ray at {address}: {_first_line(error)}") from None
    started = time.perf_counter()
    try:
        _run(ray, validation, open_classifier, workers)
    except ray.exceptions.RayTaskError as error:
        _raise_of_worker(error.cause)
    except ray.exceptions.RayError as error:
        raise ModelError(f"Ray at {address}: {_first_line(error)}") from None
    finally:
        validation.seconds = time.perf_counter() - started
        if validation.done:
            validation.save_state()
        ray.shutdown()


def _run(ray: Any, validation: Validation, open_classifier: Callable[[], Classifier], workers: int | None) -> None:
    cores = _wait_for_nodes(ray)
    workers = workers or min(cores)
    _require_node(cores, workers)
    resources = Resources(
        workers, 1 if validation.classifier.lone_session else workers, validation.resources.batch_size
    )
    job = Job(
        open_classifier,
        validation.selection,
        validation.preprocessing,
        resources,
        validation.dataset.fingerprint,
        os.getcwd(),
    )
    content = ray.put(ray.cloudpickle.dumps(job))
    task = ray.remote(num_cpus=workers, max_retries=RETRIES)(_piece_task(str(IMPORT_ROOT), __name__))
    slots = sum(count // workers for count in cores)
    pieces = _pieces(validation.outcomes.pending, resources.batch_size, slots)
    running = {task.remote(content, piece): piece for piece in pieces}
    saved = able = time.perf_counter()
    with progress(total=sum(map(len, pieces)), unit="image", desc=validation.classifier.name) as bar:
        while running:
            finished, _ = ray.wait(list(running), timeout=WAIT_SECONDS)
            for reference in finished:
                piece = running.pop(reference)
                validation.outcomes.put(piece, ray.get(reference))
                validation.done += len(piece)
                bar.update(len(piece))
            now = time.perf_counter()
            cores = _cores_of_nodes(ray)
            if finished or workers <= max(cores):
                able = now
            elif now - able > JOIN_SECONDS:
                _require_node(cores, workers)
            if now - saved > SAVE_SECONDS:
                validation.save_state()
                saved = now


def _pieces(pending: np.ndarray, batch_size: int, slots: int) -> list[np.ndarray]:
    """Positions of whole batches, a few together, so that each slot gets several pieces."""
    batches = batches_of(pending, batch_size)
    count = min(max(len(batches) // (slots * PIECES_PER_SLOT), 1), max(MAX_PIECE // batch_size, 1))
    return [np.concatenate(batches[k : k + count]) for k in range(0, len(batches), count)]


def _cores_of_nodes(ray: Any) -> list[int]:
    """The cores of each node that is alive and has any; [0] where none is."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return list(filter(None, cores)) or [0]


def _wait_for_nodes(ray: Any) -> list[int]:
    """_cores_of_nodes, once any node has one."""
    deadline = time.monotonic() + JOIN_SECONDS
    while not any(cores := _cores_of_nodes(ray)) and time.monotonic() < deadline:
        time.sleep(WAIT_SECONDS)
    return cores


def _require_node(cores: Sequence[int], workers: int) -> None:
    """A piece that no node has the cores for would wait for ever."""
    if workers > max(cores) or workers < 1:
        raise ModelError(
            f"-j {workers or 1}: no node of the Ray cluster has so many cores; the largest has {max(cores)}"
        )


def _require_reachable(address: str) -> None:
    """Ray itself tries an address for minutes before it gives up."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ModelError(f"no Ray cluster answers at {address} ({error})") from None


def _raise_of_worker(error: BaseException) -> None:
    """What a piece raised: bad input and missing packages as one line, a bug as it is."""
    if isinstance(error, ImportError):
        raise ModelError(f"a node of the Ray cluster: {_first_line(error)}; install the project there too") from None
    if isinstance(error, OSError) and error.filename is not None:
        raise ModelError(f"{error.filename}: {error.strerror} (on a node of the Ray cluster)") from None
    raise error


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]


def _piece_task(root: str, module: str) -> Callable[[bytes, np.ndarray], Outcomes]:
    """What a worker does for a piece.

    An inner function travels by value, and imports this module only after its root comes first: Ray puts the command's
    own folder on the path, where scripts/validate.py would hide the package.
    """

    def run_piece(job, positions):  # type: ignore[no-untyped-def]  # annotations would be imported before that
        import importlib
        import sys

        if sys.path[0] != root:
            sys.path.insert(0, root)
        return importlib.import_module(module).run_piece(job, positions)

    return run_piece


def run_piece(content: bytes, positions: np.ndarray) -> Outcomes:
    """On a worker: the outcomes of the images at these positions of a pickled Job's, whole batches in their order."""
    job, classifier, dataset, indices = _opened(content)
    outcomes = Outcomes(len(positions))
    selection = job.selection
    run = Run(
        classifier,
        dataset,
        indices[positions],
        job.preprocessing,
        outcomes,
        job.resources,
        selection.skip_broken,
        selection.max_pixels,
    )
    run()
    return outcomes


@functools.lru_cache(maxsize=1)
def _opened(content: bytes) -> tuple[Job, Classifier, Dataset, np.ndarray]:
    """A job with its net and its images open, once for all pieces that this worker does."""
    job: Job = pickle.loads(content)
    with contextlib.suppress(OSError):  # where it is not there, no relative path is meant in it either
        os.chdir(job.folder)
    selection = job.selection
    dataset = selection.open()
    if dataset.fingerprint != job.images:
        raise ModelError(f"{selection.data}: {socket.gethostname()} has other images there, or other labels")
    indices = select(dataset, selection.limit, selection.shard, job.resources.batch_size)
    return job, job.open_classifier(), dataset, indices
