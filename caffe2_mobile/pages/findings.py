"""What is worth saying of a net first: what is wrong, what costs most."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from caffe2_mobile.api.inspect import InspectResult
from caffe2_mobile.pages.activations import Activation
from caffe2_mobile.pages.operators import Row
from exporters.int8.measurement import Answers, LayerError
from exporters.int8.report import answer_line

SHOWN = 3  # operators that cost the most
CLAMPED = 0.01  # of a blob's values at the ends of its range, from which it is said
WEIGHTS = ("problem", "warning", "fact")
LOST = 1.0  # points of top-1, or percent of answers, from which it is said
OPERATOR = re.compile(r"^predict: operator (\d+) \(")


@dataclass(frozen=True)
class Finding:
    """A line, the places of the operators that it is about, and how much it matters, one of WEIGHTS."""

    weight: str
    text: str
    places: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.text if self.weight == "fact" else f"{self.weight}: {self.text}"


@dataclass(frozen=True)
class Times:
    """What each operator takes, µs, by its row's place; None where it is not known. title: `measured here ...`.

    provenance: place -> where the figure comes from. total_us may differ from the sum: a runtime fuses operators.
    """

    key: str
    title: str
    total_us: float
    by_place: Mapping[int, float | None]
    provenance: Mapping[int, str]
    interval_us: tuple[float, float] | None = None

    @property
    def sum_us(self) -> float:
        return sum(time or 0.0 for time in self.by_place.values())

    def slowest(self) -> list[int]:
        return sorted(self.by_place, key=lambda place: -(self.by_place[place] or 0.0))


def find(
    inspected: InspectResult,
    rows: Sequence[Row],
    times: Sequence[Times],
    activations: Mapping[str, Activation],
    errors: Sequence[LayerError],
    answers: Answers | None,
) -> list[Finding]:
    """Problems first, then warnings; then facts, what costs most before notes."""
    found = _problems(inspected, rows)
    found += _dead_channels(rows, activations)
    found += _clamped(rows, activations, errors)
    found += _answers(answers)
    found += _noisiest(rows, errors)
    found += [_slowest(rows, time) for time in times if time.sum_us]
    found += _islands(rows)
    found += [Finding("fact", note) for note in inspected.notes[:SHOWN]]
    if len(inspected.notes) > SHOWN:
        found.append(Finding("fact", f"and {counted(len(inspected.notes) - SHOWN, 'note')} more of this kind"))
    return sorted(found, key=lambda finding: WEIGHTS.index(finding.weight))


def counted(number: int, what: str) -> str:
    """As `1 blob`, `2 blobs`."""
    return f"{number} {what}{'s' * (number != 1)}"


def _problems(inspected: InspectResult, rows: Sequence[Row]) -> list[Finding]:
    own = [row.place for row in rows if row.parent is None]
    found = []
    for problem in inspected.problems:
        match = OPERATOR.match(problem)
        found.append(Finding("problem", problem, (own[int(match[1])],) if match else ()))
    return found


def _dead_channels(rows: Sequence[Row], activations: Mapping[str, Activation]) -> list[Finding]:
    dead = {
        row.place: seen.dead_channels
        for row in rows
        for blob in row.outputs[:1]
        if (seen := activations.get(blob.name)) is not None and seen.dead_channels
    }
    if not dead:
        return []
    places = sorted(dead, key=lambda place: -dead[place])[:SHOWN]
    most = ", ".join(f"{dead[place]} of {rows[place].output}" for place in places)
    which = f"{counted(sum(dead.values()), 'channel')} of {counted(len(dead), 'operator')}"
    text = f"{which} at zero throughout these images: {most}"
    return [Finding("warning", text + (" and others" if len(dead) > SHOWN else ""), tuple(places))]


def _clamped(rows: Sequence[Row], activations: Mapping[str, Activation], errors: Sequence[LayerError]) -> list[Finding]:
    """Blobs whose range is too small, but for the input's, where black and white are its ends.

    Where the float net's own values stay within the range, those at its ends are no loss (ReLU6).
    """
    whole = {error.name for error in errors if _covers(error)} | _parts(rows)
    shares = {}
    for row in rows:
        seen = activations.get(row.output)
        if seen is None or row.output in whole or row.type == "Int8Quantize":
            continue
        if seen.clamped is not None and seen.clamped >= CLAMPED:
            shares[row.place] = seen.clamped
    places = sorted(shares, key=lambda place: -shares[place])[:SHOWN]
    most = ", ".join(f"{100 * shares[place]:.1f} % of {rows[place].output}" for place in places)
    text = f"{counted(len(shares), 'blob')} with 1 % or more of the values at the ends of the range: {most}"
    return [Finding("warning", text, tuple(places))] if shares else []


def _parts(rows: Sequence[Row]) -> set[str]:
    """What layers write that read one blob through one weight: each covers a part of one range."""
    layers: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if len(row.inputs) == 3 and row.inputs[1].is_parameter:
            layers.setdefault(tuple(blob.name for blob in row.inputs[:2]), []).append(row.output)
    return {name for names in layers.values() if len(names) > 1 for name in names}


def _covers(error: LayerError) -> bool:
    """Whether a blob's range holds all of the float net's values, to a step."""
    if error.covered_range is None:
        return True
    (low, high), (lowest, highest) = error.activation_range, error.covered_range
    step = (highest - lowest) / 255
    return lowest - step <= low and high <= highest + step and not error.is_aligned


def _answers(answers: Answers | None) -> list[Finding]:
    if answers is None:
        return []
    return [Finding("warning" if answers.drop > LOST else "fact", answer_line("images", answers))]


def _noisiest(rows: Sequence[Row], errors: Sequence[LayerError]) -> list[Finding]:
    places = {row.output: row.place for row in rows}
    worst = [error for error in sorted(errors, key=lambda error: -error.added)[:SHOWN] if error.added > 0]
    if not worst:
        return []
    listed = ", ".join(f"{e.name} ({100 * e.added:.2f} %, {e.sqnr_db:.1f} dB)" for e in worst)
    return [
        Finding("fact", f"most noise is added by {listed}", tuple(places[e.name] for e in worst if e.name in places))
    ]


def _slowest(rows: Sequence[Row], times: Times) -> Finding:
    places = times.slowest()[:SHOWN]
    share = sum(times.by_place[place] or 0.0 for place in places) / times.sum_us
    listed = ", ".join(f"{rows[place].output} ({times.by_place[place] or 0:.0f} µs)" for place in places)
    return Finding("fact", f"{times.title}: {100 * share:.0f} % of the operators' time is {listed}", tuple(places))


def _islands(rows: Sequence[Row]) -> list[Finding]:
    places = tuple(row.place for row in rows if row.is_island)
    kinds = ", ".join(dict.fromkeys(rows[place].type for place in places))
    text = f"{counted(len(places), 'operator')} in float, for QNNPACK has none of the kind: {kinds}"
    return [Finding("warning" if len(places) > 2 else "fact", text, places[:SHOWN])] if places else []
