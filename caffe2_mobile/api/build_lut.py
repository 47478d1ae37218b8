"""Latency tables of this machine, or of a phone."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.extras import explaining_extras
from caffe2_common.files import require_writable
from caffe2_common.sizes import Size
from caffe2_mobile.api.nets import Source, net_name, open_net
from caffe2_mobile.api.options import require_one_of, require_positive
from caffe2_models import Net
from runtime_lut import building, measure, phone
from runtime_lut.building import MOST_DEVIATION, NetCheck, Record
from runtime_lut.operators import Case, unique_cases
from runtime_lut.table import Table

PathLike = str | os.PathLike[str]
FORMS = ("int8", "fp32")


@dataclass(frozen=True, kw_only=True)
class BuildLutOptions:
    """Which operators, by what, and where the table goes.

    space: all candidates of a search space of mobile_cv.search too, in `form` int8 or fp32. op_types: only these.
    input_dims: shapes of every net's inputs (default: its own), else img_size, pixels. engine: what is timed. device:
    the table's name (default: processor and engine); out: its folder. core: the one to stay on (default: the last).
    warmup, max_rounds: of measuring. check: measure whole nets too.
    """

    space: str | None = None
    form: str = "int8"
    op_types: tuple[str, ...] | None = None
    input_dims: Mapping[str, tuple[int, ...]] | None = None
    img_size: Size | None = None
    engine: str = "caffe2"
    device: str | None = None
    out: PathLike = "."
    core: int | None = None
    warmup: int = 3
    max_rounds: int = 60
    check: bool = False

    def __post_init__(self) -> None:
        require_positive(self, "img_size", "max_rounds")
        require_one_of("form", self.form, FORMS)
        require_one_of("engine", self.engine, measure.ENGINES)
        if self.warmup < 0:
            raise ModelError(f"invalid warmup {self.warmup}: expected 0 or more rounds")

    @property
    def settings(self) -> measure.Settings:
        """How long to measure; operators are measured on one core, so with one thread."""
        return measure.Settings(
            warmup=self.warmup, min_rounds=min(12, self.max_rounds), max_rounds=self.max_rounds, threads=1
        )

    @property
    def device_name(self) -> str:
        """The table's name."""
        words = re.sub(r"[^A-Za-z0-9]+", "-", measure.cpu_name()).strip("-")
        return self.device or f"{words}-{self.engine}-1t"


@dataclass(frozen=True)
class BuildLutResult:
    """A table that is written: its file and records; with `check`, whole nets beside the sums of their operators."""

    path: Path
    records: list[Record] = field(repr=False)
    checks: tuple[NetCheck, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the sums are within 5 % of the whole nets (median); True where none was measured."""
        return not self.checks or building.median_deviation(self.checks) <= MOST_DEVIATION

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.records)} operators, {building.total_us(self.records) / 1000:.1f} ms in all"]
        if self.checks:
            median = building.median_deviation(self.checks)
            lines += [*map(str, self.checks), f"median deviation {100 * median:.1f} %"]
        return "\n".join(lines)

    def save(self, path: PathLike) -> None:
        """The table once more, under another name."""
        building.write_records(Path(path), self.records)


@dataclass(frozen=True)
class PhoneExport:
    """Nets and a script that measure the operators on a phone: ./run.sh in the folder."""

    folder: Path
    operators: int
    nets: int

    def __str__(self) -> str:
        return f"{self.folder}: {self.operators} operators in {self.nets} nets; next: ./run.sh there"


def build_lut(nets: Iterable[Source], options: BuildLutOptions | None = None) -> BuildLutResult:
    """Measure each different operator of the nets once, on one core, and write the table.

    nets: as for latency. What an interrupted run measured is not measured again. This process stays on the core, where
    the system can do that. The threads of numpy's BLAS would share it: set OMP_NUM_THREADS=1 before numpy is imported,
    as the command does.
    Raises ModelError for what is no net, and for an engine or a core that is not here.
    """
    options = options or BuildLutOptions()
    device = options.device_name
    path = building.table_path(Path(options.out), device)
    require_writable(path)
    named = _open(nets, options)
    cases = _cases(named, options)
    measure.pin(options.core)
    records = building.measure_table(cases, path, device, options.engine, options.settings)
    if not options.check:
        return BuildLutResult(path, records)
    table = Table.load(path, device)
    times = {case.signature.key: time for case in cases if (time := table.time(case.signature)) is not None}
    return BuildLutResult(path, records, tuple(building.check_nets(named, times, options.engine, options.settings)))


def export_phone(nets: Iterable[Source], folder: PathLike, options: BuildLutOptions | None = None) -> PhoneExport:
    """Write the operators of the nets, and the script that has a phone measure them."""
    options = options or BuildLutOptions()
    cases = _cases(_open(nets, options), options)
    return PhoneExport(Path(folder), len(cases), phone.export(cases, Path(folder)))


def lut_from_phone(folder: PathLike, device: str, out: PathLike = ".") -> BuildLutResult:
    """The table of what the script of export_phone recorded, in the folder `out`."""
    path = building.table_path(Path(out), device)
    require_writable(path)
    records = phone.read_back(Path(folder), device, engine="caffe2", date=measure.machine()["date"])
    building.write_records(path, records)
    return BuildLutResult(path, records)


def _open(nets: Iterable[Source], options: BuildLutOptions) -> list[tuple[str, Net, building.Shapes]]:
    """(name, net, shapes of its inputs) of the nets, and of those that hold a space's candidates."""
    opened = [(net_name(net), open_net(net)) for net in nets]
    if options.space is not None:
        opened += _nets_of_space(options.space, options.form)
    return [(name, net, net.input_shapes(options.img_size, given=options.input_dims)) for name, net in opened]


def _cases(nets: Sequence[tuple[str, Net, building.Shapes]], options: BuildLutOptions) -> list[Case]:
    cases = unique_cases([(net, dict(shapes)) for _, net, shapes in nets])
    return [case for case in cases if options.op_types is None or case.op.type in options.op_types]


@explaining_extras()
def _nets_of_space(name: str, form: str) -> list[tuple[str, Net]]:
    """Nets that together have every candidate of a search space."""
    from caffe2_mobile.space_nets import space_nets
    from mobile_cv.search import get_space

    space = get_space(name)
    return [(f"{name}/{number}", net) for number, net in enumerate(space_nets(space, form))]
