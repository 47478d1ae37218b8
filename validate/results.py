"""The result of a validation run: what it says, and how it is printed and saved."""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import size_text
from validate.outcomes import Totals
from validate.statistics import wilson_interval

COLUMNS = [
    "model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation",
    "form", "backend", "n",
]  # fmt: skip
SUFFIXES = (".json", ".csv", ".txt")
MAX_RESULT_BYTES = 1 << 24


@dataclass(frozen=True)
class Result:
    """Accuracy of one net over a set of images, or over one shard of it.

    images and fingerprint tell which images and which net these were; shard is (I, N), I from 0;
    seconds is inference and decoding together, of the images run `now` (a resumed run has fewer).
    """

    model: str
    form: str
    backend: str
    preprocessing: Preprocessing
    param_count: int
    totals: Totals
    seconds: float
    now: int
    fingerprint: str = ""
    images: str = ""
    shard: tuple[int, int] = (0, 1)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def top1(self) -> float:
        """Percent of images whose class scored highest."""
        return 100 * self.totals.top1 / self.totals.n if self.totals.n else 0.0

    @property
    def top5(self) -> float:
        """Percent of images whose class is among the five that scored highest."""
        return 100 * self.totals.top5 / self.totals.n if self.totals.n else 0.0

    @property
    def weights(self) -> str:
        """fp32 or int8."""
        return "int8" if self.form.endswith("int8") else "fp32"

    @property
    def images_per_second(self) -> float:
        return self.now / self.seconds if self.seconds else 0.0

    def row(self) -> dict:
        """The values of COLUMNS; percent with three decimals, param_count in millions."""
        p = self.preprocessing
        values = (
            self.model,
            *(round(v, 3) for v in (self.top1, 100 - self.top1, self.top5, 100 - self.top5)),
            round(self.param_count / 1e6, 2), p.size if isinstance(p.size, int) else size_text(p.size), p.crop_pct,
            p.interpolation,
            self.form, self.backend, self.totals.n,
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))

    def to_json(self) -> str:
        t = self.totals
        return json.dumps(
            {
                **self.row(),
                "top1_interval": [round(v, 3) for v in wilson_interval(t.top1, t.n)],
                "top5_interval": [round(v, 3) for v in wilson_interval(t.top5, t.n)],
                "loss": round(t.mean_loss, 6) if t.n else None,
                "images_per_second": round(self.images_per_second, 2),
                "seconds": round(self.seconds, 3),
                "images_run": self.now,
                "params": self.param_count,
                "broken": self.broken,
                "preprocessing": dataclasses.asdict(self.preprocessing),
                "totals": dataclasses.asdict(t),
                "shard": list(self.shard),
                "images": self.images,
                "fingerprint": self.fingerprint,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> "Result":
        """Read what save wrote as JSON; raises ModelError where it is something else."""
        path = Path(path)
        if path.stat().st_size > MAX_RESULT_BYTES:
            raise ModelError(f"{path}: is larger than {MAX_RESULT_BYTES >> 20} MiB, which no result is")
        try:
            content = json.loads(path.read_bytes())
            numbers = [
                *content["totals"].values(),
                *content["shard"],
                content["params"],
                content["images_run"],
            ]
            if not all(type(number) is int for number in numbers):
                raise TypeError
            return cls(
                model=content["model"],
                form=content["form"],
                backend=content["backend"],
                preprocessing=Preprocessing.from_json(json.dumps(content["preprocessing"])),
                param_count=content["params"],
                totals=Totals(**content["totals"]),
                seconds=float(content["seconds"]),
                now=content["images_run"],
                fingerprint=content["fingerprint"],
                images=content["images"],
                shard=(content["shard"][0], content["shard"][1]),
                broken=dict(content["broken"]),
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise ModelError(f"{path}: is no result of a validation run in JSON") from None

    def to_csv(self) -> str:
        return csv_table([self])

    def to_text(self) -> str:
        t = self.totals
        part = f", shard {self.shard[0] or self.shard[1]}/{self.shard[1]}" if self.shard[1] > 1 else ""
        lines = [
            f"{self.model} ({self.form}, {self.backend}, {self.param_count / 1e6:.2f} M parameters{part})",
            _accuracy_line("top-1", t.top1, t.n),
            _accuracy_line("top-5", t.top5, t.n),
            f"loss   {t.mean_loss:7.4f}",
            f"{t.n} images, {self.images_per_second:.1f} images/s",
        ]
        if self.broken:
            lines.append(f"{len(self.broken)} broken images left out:")
            lines += [f"  {name}: {reason}" for name, reason in self.broken.items()]
        return "\n".join(lines)

    def save(self, path: str | os.PathLike) -> None:
        """As JSON, CSV or text, by the name's ending."""
        check_results_path(path)
        render = {".json": self.to_json, ".csv": self.to_csv, ".txt": self.to_text}[Path(path).suffix]
        write_atomically(path, render().rstrip("\n") + "\n")


def check_results_path(path: str | os.PathLike) -> None:
    """Raises ModelError where save would not know the form to write."""
    if Path(path).suffix not in SUFFIXES:
        raise ModelError(f"{path}: results are written as {', '.join(SUFFIXES)}, by the file's ending")


def csv_table(results: Iterable[Result]) -> str:
    """COLUMNS and a row for each result."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.row() for result in results)
    return text.getvalue()


def merge(results: list[Result]) -> Result:
    """Results of all shards of one run, put together exactly.

    Raises ModelError where they are of different nets, images or preprocessing, or where a shard is missing
    or twice.
    """
    first = results[0]
    for name in ("model", "form", "backend", "preprocessing", "fingerprint", "images"):
        values = {getattr(result, name) for result in results}
        if len(values) > 1:
            raise ModelError(f"results to merge differ in {name}: {', '.join(map(str, values))}")
    count = first.shard[1]
    found = sorted(result.shard[0] for result in results)
    if any(result.shard[1] != count for result in results) or found != list(range(count)):
        shards = ", ".join(f"{result.shard[0] or result.shard[1]}/{result.shard[1]}" for result in results)
        raise ModelError(f"results to merge are shards {shards}; each of 1/{count} ... {count}/{count} is needed, once")
    return dataclasses.replace(
        first,
        totals=sum((result.totals for result in results), Totals()),
        seconds=max(result.seconds for result in results),
        now=sum(result.now for result in results),
        shard=(0, 1),
        broken={name: reason for result in results for name, reason in result.broken.items()},
    )


def _accuracy_line(name: str, hits: int, n: int) -> str:
    low, high = wilson_interval(hits, n)
    share = 100 * hits / n if n else 0.0
    return f"{name}  {share:6.2f} %   (95 %: {low:.2f} ... {high:.2f})"
