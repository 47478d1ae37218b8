"""From a latency to a network: searched, trained, converted, validated."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2_common.errors import ModelError
from caffe2_common.extras import explaining_extras
from caffe2_common.files import open_atomically, require_writable, write_atomically
from caffe2_common.pages.colours import MUTED, colour, plot_style
from caffe2_mobile.api.options import require_one_of
from caffe2_mobile.api.runs import RunOptions, epoch_log, forget, in_turn, load_data, start, with_changes
from caffe2_mobile.chain import Chain, Row, to_text, write_images
from mobile_cv.settings import SEARCH_PRESETS, TOLERANCE, TRAINING_PRESETS, SearchSettings, TrainingSettings
from runtime_lut.estimate import DEFAULT_DEVICE
from runtime_lut.sources import find_sources

if TYPE_CHECKING:
    from mobile_cv.search import Data, Found, LatencyTable, Processes, SearchSpace, Training

FORMS = ("int8", "fp32")
RESULTS, PLOT = "results.json", "accuracy_latency.png"  # in the folder of a search
SHOWN = 5  # violated orderings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SearchOptions(RunOptions):
    """How to search.

    space: fbnet (in its form for the data), or a file F.json. device: whose latency is meant, from its table in db_dir,
    estimated where that lacks something unless strict; form: of which net, "int8" or "fp32". text_table: latencies of
    the layers from lookup_table.txt of AnnaAraslanova/FBNet instead. loss: "target", "paper" or "annafbnet", with
    strength (of the first), alpha and beta (of the others). random: how many random networks of the same latency are
    trained for comparison. settings, train_settings: fields of SearchSettings and TrainingSettings that shall differ
    from what is usual for the data.
    """

    space: str = "fbnet"
    device: str = DEFAULT_DEVICE
    db_dir: str | os.PathLike[str] | None = None
    strict: bool = False
    form: str = "int8"
    text_table: str | os.PathLike[str] | None = None
    loss: str = "target"
    alpha: float | None = None
    beta: float | None = None
    strength: float | None = None
    random: int = 8
    settings: Mapping[str, int | float | bool] = field(default_factory=dict)
    train_settings: Mapping[str, int | float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("form", self.form, FORMS)
        if self.random < 0:
            raise ModelError(f"invalid random {self.random}: expected a number from zero on")


@dataclass(frozen=True)
class Rival:
    """A random network: its latency, and its top-1 (percent) in PyTorch."""

    latency_ms: float
    test_accuracy: float


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The network found: its choices of the space, its latency by the space's table, top-1 (percent) in PyTorch, all
    its forms, and random networks beside it. holds: whether the net of the form asked for meets the target.
    """

    space: str
    choices: tuple[int, ...]
    target_ms: float
    device: str
    latency_ms: float
    test_accuracy: float
    forms: tuple[Row, ...]
    random: tuple[Rival, ...]
    holds: bool
    out: Path

    def __str__(self) -> str:
        lines = [to_text(self.forms, self.device)]
        if self.random:
            accuracies = [rival.test_accuracy for rival in self.random]
            latencies = [rival.latency_ms for rival in self.random]
            lines.append(
                f"random networks ({len(self.random)}) of {min(latencies):.4g} to {max(latencies):.4g} ms, "
                f"in PyTorch: top-1 {statistics.median(accuracies):.2f} % (median), "
                f"{min(accuracies):.2f} to {max(accuracies):.2f} %"
            )
        if not self.holds:
            lines.append(f"the net that was asked for takes more than the target of {self.target_ms:g} ms")
        return "\n".join(lines)

    def to_json(self) -> str:
        """What results.json holds."""
        values = dataclasses.asdict(self)
        del values["out"], values["holds"]
        return json.dumps(values, indent=1) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all figures as JSON."""
        write_atomically(path, self.to_json())

    @explaining_extras()
    def save_plot(self, path: str | os.PathLike[str]) -> None:
        """Draw accuracy over latency: the network found, and the random ones. Needs the extra plots."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        latencies, accuracies = ([getattr(r, name) for r in self.random] for name in ("latency_ms", "test_accuracy"))
        with pyplot.rc_context(plot_style()):
            figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
            axes.scatter(latencies, accuracies, c=colour("rest"), label="random")
            axes.scatter(
                [self.latency_ms], [self.test_accuracy], c=colour("estimated"), marker="*", s=150, label="found"
            )
            axes.axvline(self.target_ms, color=MUTED, linestyle="--", label="target")
            axes.set_xlabel(f"latency on {self.device}, ms")
            axes.set_ylabel("top-1 of images held out, %")
            axes.legend()
            with open_atomically(path) as file:
                figure.savefig(file, dpi=120, format=Path(path).suffix.removeprefix(".") or "png")
        pyplot.close(figure)


@dataclass(frozen=True)
class _Task:
    """What all steps of one search share."""

    target_ms: float
    options: SearchOptions
    processes: Processes
    data: Data
    space: SearchSpace
    table: LatencyTable
    out: Path


@explaining_extras()
def search(target_ms: float, options: SearchOptions | None = None) -> SearchResult | None:
    """FBNet's differentiable search for a network of this latency (ms); then its training and all its forms.

    The most probable network within the target is trained from scratch, converted to ONNX, Caffe2 and Caffe2 int8, and
    each form validated on the images held out. Everything is left in options.out (default runs/SPACE-DEVICE-TARGETms):
    network.json, network.pth, network.onnx, network_int8.*.pb, results.json, accuracy_latency.png and more. What is
    done is logged. None in the processes of torchrun that are not the first. Raises ModelError for a target that no
    network of the space meets, for invalid data and settings, and where an extra is missing.
    """
    from mobile_cv.search import get_space, random_networks

    options = options or SearchOptions()
    if not 0 < target_ms < float("inf"):
        raise ModelError(f"invalid target_ms {target_ms}: expected a number above zero")
    processes = start(options)
    data = load_data(options, processes)
    space = get_space(options.space, data.name).fit(len(data.classes), data.mean, data.std)
    if data.size not in (None, space.network.size):
        raise ModelError(f"{data.name}: images of {data.size} pixels; space {space.name} is for {space.network.size}")
    settings = with_changes(SEARCH_PRESETS.get(data.name, SearchSettings()), options.settings, "search setting")
    preset = TRAINING_PRESETS.get(data.name, TrainingSettings())
    train_settings = with_changes(preset, options.train_settings, "training setting")
    train_settings = dataclasses.replace(train_settings, seed=settings.seed)
    out = Path(options.out or Path("runs") / f"{space.name}-{options.device}-{target_ms:g}ms")
    require_writable(out / RESULTS)
    table = _find_latencies(options, space, processes, out)
    require_reachable(target_ms, table, space)
    if processes.is_first:
        logger.info(_describe(space, table, data))
    task = _Task(target_ms, options, processes, data, space, table, out)
    found = _search(task, settings)
    training = _train(task, "network", found.choices, train_settings)
    low, high = (1 - TOLERANCE) * target_ms, target_ms
    others = random_networks(space, table, low, high, options.random, settings.seed) if options.random else []
    rivals = []
    for index, choices in enumerate(others):
        rival = _train(task, f"random/{index:02}", choices, train_settings)
        rivals.append(Rival(table.of(choices), rival.history[-1]["test_accuracy"]))
    result = _finish(task, found, training, rivals) if processes.is_first else None
    processes.stop()
    return result


def look_up(options: SearchOptions, space: SearchSpace) -> LatencyTable:
    """The latencies of the candidates of a space, as the options say; orderings that they violate are logged."""
    from caffe2_mobile.space_nets import latency_table
    from mobile_cv.search import read_text_table, violations
    from mobile_cv.search.latency import count_orderings

    if options.text_table is not None:
        table = read_text_table(Path(options.text_table), space)
    else:
        db_dir = Path(options.db_dir) if options.db_dir is not None else None
        sources = find_sources(options.device, db_dir, estimate=not options.strict)
        if sources.note:
            logger.info(sources.note)
        origins: Counter[str] = Counter()
        table = latency_table(
            space, options.form, sources.table, sources.estimator, lambda net: origins.update(net.provenance)
        )
        listed = ", ".join(f"{count} {origin}" for origin, count in origins.most_common())
        logger.info(f"latencies of the candidates' operators on {options.device}: {listed}")
    if wrong := violations(table, space):
        shown = wrong if options.text_table is not None else wrong[:SHOWN]
        more = f"; and {len(wrong) - len(shown)} more" if len(wrong) > len(shown) else ""
        logger.warning(
            f"{len(wrong)} of {count_orderings(space)} orderings that must hold are violated: {'; '.join(shown)}{more}"
        )
    return table


def require_reachable(target_ms: float, table: LatencyTable, space: SearchSpace) -> None:
    """Raises ModelError where no network of the space takes about the target."""
    fastest, slowest = table.range(space.available)
    if not fastest <= target_ms or not (1 - TOLERANCE) * target_ms <= slowest:
        raise ModelError(
            f"invalid target {target_ms:g} ms: the networks of space {space.name} take "
            f"{fastest:.4g} to {slowest:.4g} ms on {table.device}"
        )


def _find_latencies(options: SearchOptions, space: SearchSpace, processes: Processes, out: Path) -> LatencyTable:
    """The candidates' latencies, found once by the first process; kept on disk for the others."""
    from mobile_cv.search import LatencyTable

    path = out / "latencies.json"

    def make() -> LatencyTable:
        if processes.is_first:
            write_atomically(path, look_up(options, space).to_json())
        return LatencyTable.from_json(path)

    return in_turn(processes, make)


def _describe(space: SearchSpace, table: LatencyTable, data: Data) -> str:
    fastest, slowest = table.range(space.available)
    return (
        f"space {space.name}: {len(space.layers)} layers, {space.size:.3g} networks of "
        f"{fastest:.4g} to {slowest:.4g} ms on {table.device}\n"
        f"data {data.name}: {len(data.train)} images to learn from, {len(data.test)} held out"
    )


def _search(task: _Task, settings: SearchSettings) -> Found:
    """Search, or take up what the folder holds of this search."""
    from mobile_cv.search import LOSSES, Search

    options, processes = task.options, task.processes
    require_one_of("loss", options.loss, LOSSES)
    kind = LOSSES[options.loss]
    given = {
        "target_ms": task.target_ms,
        "alpha": options.alpha,
        "beta": options.beta,
        "strength": options.strength,
    }
    names = {field.name for field in dataclasses.fields(kind)}
    loss = kind(**{key: value for key, value in given.items() if key in names and value is not None})
    state = task.out / "search.pt"
    forget(options, processes, state)
    run = Search(task.space, task.table, loss, task.data, settings, processes, options.workers)
    run.run(state, epoch_log(options, processes, task.out, "search"))
    found = run.result(task.target_ms)
    if processes.is_first:
        write_atomically(task.out / "search.json", json.dumps({**vars(found), "history": run.history}))
        logger.info(f"found: {task.space.describe(found.choices)}, {found.latency_ms:.4g} ms")
    return found


def _train(task: _Task, name: str, choices: Sequence[int], settings: TrainingSettings) -> Training:
    """Train a network of the space from scratch, or take up what the folder holds of it."""
    import torch

    from mobile_cv.model_zoo.networks import build
    from mobile_cv.search import Training

    options, processes, out = task.options, task.processes, task.out
    torch.manual_seed(settings.seed)
    architecture = task.space.architecture(choices)
    model = build(architecture)
    state = out / f"{name}.pt"
    forget(options, processes, state)
    training = Training(model, task.data, settings, processes, options.workers)
    training.run(state, epoch_log(options, processes, out, name))
    if processes.is_first:
        training.save_weights(out / f"{name}.pth")
        write_atomically(out / f"{name}.json", architecture.to_json(comment=task.space.describe(choices)))
    return training


def _finish(task: _Task, found: Found, training: Training, rivals: list[Rival]) -> SearchResult:
    """Convert, validate, save the figures and the plot."""
    options, out = task.options, task.out.resolve()
    flags = ["--device", options.device]
    flags += ["--db_dir", str(Path(options.db_dir).resolve())] if options.db_dir is not None else []
    flags += [] if options.strict else ["--estimate"]
    images = write_images(task.data, out / "images")
    forms = Chain(out / "network.json", out / "network.pth", images, flags).run()
    latency_ms = next(row.latency_ms for row in forms if row.form == f"Caffe2 {options.form}")
    within = latency_ms is not None and latency_ms <= (1 + TOLERANCE) * task.target_ms
    result = SearchResult(
        space=task.space.name,
        choices=tuple(found.choices),
        target_ms=task.target_ms,
        device=options.device,
        latency_ms=found.latency_ms,
        test_accuracy=training.history[-1]["test_accuracy"],
        forms=tuple(forms),
        random=tuple(rivals),
        holds=within or options.text_table is not None,
        out=task.out,
    )
    result.save(out / RESULTS)
    try:
        result.save_plot(out / PLOT)
    except ModelError as error:
        logger.warning(f"no plot: {error}")
    return result
