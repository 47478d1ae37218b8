"""A validation: a net, labelled images, the rules by which they become its input, and how far it is."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffe2_common.errors import ModelError
from caffe2_common.images import MAX_PIXELS
from caffe2_common.preprocessing import Preprocessing
from validate.classifier import Classifier
from validate.dataset import Dataset, open_dataset, select
from validate.outcomes import Outcomes
from validate.predictions import Predictions
from validate.published import find_published
from validate.results import Result
from validate.runner import Resources, Run

BATCH_SIZE = 8  # small batches stay in the caches, and nothing is gained by larger ones

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Selection:
    """Which images, and what tells their labels.

    data, ground_truth and label_map are as open_dataset takes them; limit and shard as select does. skip_broken: leave
    images that cannot be decoded out. max_pixels: of an image; one that has more counts as broken.
    """

    data: PathLike
    ground_truth: PathLike | None = None
    label_map: PathLike | None = None
    limit: int | None = None
    shard: tuple[int, int] = (0, 1)
    skip_broken: bool = False
    max_pixels: int = MAX_PIXELS

    def open(self) -> Dataset:
        """Raises ModelError as open_dataset does."""
        return open_dataset(self.data, self.ground_truth, self.label_map)


def recorded_preprocessing(
    classifier: Classifier, published: str | None = None, tf_preprocessing: bool = False
) -> Preprocessing:
    """What the net's file records, else the published row's where one is named, else the defaults.

    These are the net's own size, else 224, and what Preprocessing() says: bicubic, crop 0.875, RGB, ImageNet's mean and
    std. Raises ModelError for a name that was not published.
    """
    if classifier.preprocessing is not None:
        return classifier.preprocessing
    if published is not None:
        return find_published(published, classifier.weights, tf_preprocessing).preprocessing
    return Preprocessing().replace(size=classifier.size)


class Validation:
    """What is to be run, and the outcomes so far; run() fills in the rest of them.

    preprocessing: complete (caffe2_common.images). resources: batch_size is that of the net where it has a fixed one.
    state: where the outcomes are kept while it runs; with resume it goes on from what an interrupted run kept there.
    Raises ModelError for a state of another run.
    """

    def __init__(
        self,
        classifier: Classifier,
        selection: Selection,
        preprocessing: Preprocessing,
        resources: Resources,
        state: Path | None = None,
        resume: bool = False,
    ):
        self.classifier, self.selection, self.preprocessing = classifier, selection, preprocessing
        self.dataset = selection.open()
        count = len(self.dataset)
        self.resources = dataclasses.replace(
            resources,
            threads=1 if classifier.lone_session else resources.threads,
            batch_size=classifier.fixed_batch or min(resources.batch_size, selection.limit or count, count),
        )
        self.indices = select(self.dataset, selection.limit, selection.shard, self.resources.batch_size)
        self.state = state
        if resume and state is not None and state.exists():
            self.outcomes = Outcomes.load(state, self._identity(), len(self.indices))
        else:
            self.outcomes = Outcomes(len(self.indices))
        self.resumed = len(self.indices) - len(self.outcomes.pending)
        self.seconds, self.done = 0.0, 0

    def warnings(self) -> list[str]:
        """What the user may not have meant: one line each."""
        dataset, outputs, name = self.dataset, self.classifier.outputs, self.classifier.name
        lines = list(self.classifier.notes)
        if dataset.sorted_classes and outputs is not None and outputs != dataset.sorted_classes:
            lines.append(
                f"{dataset.path}: {dataset.sorted_classes} class folders whose names are no ImageNet synsets are "
                f"labelled 0 to {dataset.sorted_classes - 1} in sorted order, but {name} has {outputs} outputs; "
                "--label-map tells which class is which output"
            )
        return lines

    def run(self) -> None:
        """Run what is pending, here. Raises ModelError for what cannot be run; the state is kept then."""
        selection = self.selection
        run = Run(
            self.classifier,
            self.dataset,
            self.indices,
            self.preprocessing,
            self.outcomes,
            self.resources,
            selection.skip_broken,
            selection.max_pixels,
        )
        run(self.save_state)
        self.seconds, self.done = run.seconds, run.done

    def save_state(self) -> None:
        """Write the outcomes so far, whole or not at all, where there is a state file."""
        if self.state is not None:
            self.outcomes.save(self.state, self._identity())

    def drop_state(self) -> None:
        """Remove the state file: the results are safe elsewhere."""
        if self.state is not None:
            self.state.unlink(missing_ok=True)

    def name_of(self, position: int) -> str:
        """The path of an image of the run."""
        return str(self.dataset.path / self.dataset.names[self.indices[position]])

    def result(self) -> Result:
        """The figures over what was run."""
        classifier, outcomes = self.classifier, self.outcomes
        return Result(
            model=classifier.name,
            form=classifier.form,
            backend=classifier.backend,
            preprocessing=self.preprocessing,
            param_count=classifier.param_count,
            totals=outcomes.totals(),
            seconds=self.seconds,
            now=self.done,
            fingerprint=classifier.fingerprint,
            images=f"{self.dataset.fingerprint}, limit {self.selection.limit}, batch size {self.resources.batch_size}",
            shard=self.selection.shard,
            broken={self.name_of(position): reason for position, reason in outcomes.broken.items()},
        )

    def predictions(self) -> Predictions:
        """What was predicted for each image that was run."""
        return Predictions.of_run(self.dataset, self.indices, self.outcomes)

    def _identity(self) -> dict[str, Any]:
        """Which run a state is of."""
        return {
            "net": self.classifier.fingerprint,
            "backend": self.classifier.backend,
            "images": self.dataset.fingerprint,
            "preprocessing": self.preprocessing.to_json(),
            "limit": self.selection.limit,
            "shard": list(self.selection.shard),
            "batch size": self.resources.batch_size,
        }


def require_state(state: Path | None, resume: bool) -> None:
    """Raises ModelError where a run is to go on from a state that has no place."""
    if resume and state is None:
        raise ModelError("--resume needs --state F, or --results-file F whose state lies beside it")
