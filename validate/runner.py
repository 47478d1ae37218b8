"""One run over images: decoding in worker processes, inference in threads of this one, both at once."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.images import MAX_PIXELS
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.progress import progress
from validate.classifier import Classifier
from validate.dataset import Dataset
from validate.loader import Batch, Loader
from validate.outcomes import Outcomes

BACKGROUND_OUTPUTS = 1001  # ImageNet's 1000 classes behind one for the background
SAVE_SECONDS = 1.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Resources:
    """How a run uses the machine: decoding processes, one-core inference threads, images per batch."""

    workers: int
    threads: int
    batch_size: int


def batches_of(pending: np.ndarray, size: int) -> list[np.ndarray]:
    """Positions by batch: batch k has the positions k * size ... (k + 1) * size - 1 that are among them."""
    return np.split(pending, np.flatnonzero(np.diff(pending // size)) + 1) if len(pending) else []


class Run:
    """Fills in the pending rows of `outcomes`, one for each of the images at `indices` of the dataset.

    Batches are fixed by the order of images alone, so that a run in pieces feeds the net the same batches
    as one in one go. With skip_broken, broken images are marked in `outcomes`; else the first ends the run.
    """

    def __init__(
        self,
        classifier: Classifier,
        dataset: Dataset,
        indices: np.ndarray,
        preprocessing: Preprocessing,
        outcomes: Outcomes,
        resources: Resources,
        skip_broken: bool = False,
        max_pixels: int = MAX_PIXELS,
    ):
        self.classifier, self.dataset, self.indices = classifier, dataset, indices
        self.preprocessing, self.outcomes, self.resources = preprocessing, outcomes, resources
        self.skip_broken, self.max_pixels = skip_broken, max_pixels
        self.seconds = 0.0
        self.done = 0
        self._hits = np.zeros(2, np.int64)
        self._lock = threading.Lock()

    def __call__(self, save: Callable[[], None] | None = None) -> None:
        """Run what is pending. save, where given, is called now and then, and when the run is cut short.

        Raises ModelError for the first image or batch that cannot be run.
        """
        pending = self.outcomes.pending
        size = self.resources.batch_size
        batches = batches_of(pending, size)
        if not batches:
            return
        started = time.perf_counter()
        loader = Loader(
            self.dataset,
            self.indices,
            batches,
            self.preprocessing,
            self.classifier.channels,
            size,
            min(self.resources.workers, len(batches)),
            self.resources.threads,
            self.max_pixels,
        )
        try:
            with loader, progress(total=len(pending), unit="image", desc=self.classifier.name) as bar:
                self._infer_in_threads(loader, bar, save)
        except BaseException:
            self._save(save)
            raise
        finally:
            self.seconds = time.perf_counter() - started

    def _infer_in_threads(self, loader: Loader, bar, save: Callable[[], None] | None) -> None:
        saved = time.perf_counter()
        with ThreadPoolExecutor(self.resources.threads) as pool:
            futures = [pool.submit(self._infer, loader) for _ in range(self.resources.threads)]
            running = set(futures)
            try:
                while running:
                    finished, running = wait(running, POLL_SECONDS, FIRST_EXCEPTION)
                    for future in finished:
                        future.result()
                    self._show(bar)
                    if time.perf_counter() - saved > SAVE_SECONDS:
                        self._save(save)
                        saved = time.perf_counter()
            except BaseException:
                loader.close()
                raise

    def _infer(self, loader: Loader) -> None:
        """What one thread does: take a batch, score it, until there is none."""
        infer = self.classifier.open_session()
        while (batch := loader.next()) is not None:
            n = len(batch.positions)
            scores = infer(batch.pixels)[:n] if n else None
            loader.release(batch)
            with self._lock:
                self._record(batch, scores)

    def _record(self, batch: Batch, scores: np.ndarray | None) -> None:
        for position, reason in batch.broken:
            name = self._name(position)
            if not self.skip_broken:
                raise ModelError(f"{name}: {reason}; --skip-broken leaves such images out")
            self.outcomes.mark_broken(position, reason)
        if scores is not None:
            positions = batch.positions
            labels = self.dataset.labels[self.indices[positions]]
            self._check(scores, positions, labels)
            offset = int(self.dataset.is_imagenet and scores.shape[1] == BACKGROUND_OUTPUTS)
            self.outcomes.record(positions, scores, labels, offset, self.classifier.probabilities)
            rank = self.outcomes.rank[positions]
            self._hits += [(rank == 0).sum(), (rank < 5).sum()]
        self.done += len(batch.positions)

    def _check(self, scores: np.ndarray, positions: np.ndarray, labels: np.ndarray) -> None:
        outputs = scores.shape[1]
        if labels.max() >= outputs:
            raise ModelError(
                f"{self.classifier.name}: has {outputs} outputs, the images have classes up to "
                f"{labels.max()}; --label-map tells which output is which class"
            )
        if not np.isfinite(scores).all():
            worst = positions[np.flatnonzero(~np.isfinite(scores).all(axis=1))[0]]
            raise ModelError(f"{self.classifier.name}: gives scores that are no numbers for {self._name(worst)}")

    def _show(self, bar) -> None:
        with self._lock:
            bar.update(self.done - bar.n)
            if self.done:
                top1, top5 = 100 * self._hits / self.done
                bar.set_postfix_str(f"top-1 {top1:.2f} %, top-5 {top5:.2f} %", refresh=False)

    def _save(self, save: Callable[[], None] | None) -> None:
        if save is not None:
            with self._lock:
                save()

    def _name(self, position: int) -> str:
        return str(self.dataset.path / self.dataset.names[self.indices[position]])
