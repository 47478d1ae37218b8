"""A device's latency table: JSON-lines records, hashed by what their operators mean, compiled once per
content.

A record is one JSON object per line with the keys op_type, op_args (protobuf text, one per argument),
input_shapes, input_dtypes (TensorProto.DataType), runtime_us_p0, _p10, _p50, _p90, _p100 (microseconds) and
device. Files are named DEVICE-op_lut_database.json or DEVICE-op_lut_database_caffe2.json, plain, .gz or
.zip.

Parsing a large table takes seconds, so its index is kept in the cache directory under the SHA-256 of the
table's bytes: a table that changes has another index, and one that is unreadable is made anew.
"""

import contextlib
import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffe2_common.downloads import cache_dir
from caffe2_common.errors import ModelError
from caffe2_common.files import ARCHIVE_ERRORS, open_atomically
from caffe2_models import operators
from runtime_lut import signature
from runtime_lut.signature import Signature

DATABASE_NAMES = ("op_lut_database.json", "op_lut_database_caffe2.json")
PACKINGS = ("", ".gz", ".zip")
MAX_TABLE_BYTES = 1 << 30  # unpacked

PERCENTILES = ("p0", "p10", "p50", "p90", "p100")
MEDIAN = PERCENTILES.index("p50")
MAX_DIMS = 16  # sizes per operator that are compared to find what is nearest
MAX_TIES = 32

# How records of one operator become one time.
POLICIES = ("ave", "min", "max", "last")

# The code that an index depends on: where it changes, indexes made before are not looked at.
INDEX_CODE = (Path(__file__), Path(signature.__file__), *sorted(Path(operators.__file__).parent.glob("*.py")))


class Match(NamedTuple):
    """What a table says of an operator. signature: as it was found; time_us: by the table's policy."""

    signature: Signature
    time_us: float
    all_percentiles: np.ndarray  # of all the table's records
    rows: slice  # of this operator's

    @property
    def percentiles(self) -> np.ndarray:
        """µs [records, 5], in the file's order."""
        return self.all_percentiles[self.rows]

    @property
    def medians(self) -> list[float]:
        return self.percentiles[:, MEDIAN].tolist()

    def percentile(self, name: str) -> float:
        """One of PERCENTILES in µs, averaged over the records."""
        return float(self.percentiles[:, PERCENTILES.index(name)].mean())


class Table:
    """The records of one device, found by signature.

    `policy` says what several records of one operator give: ave(rage), min, max or last.
    """

    def __init__(self, device: str, arrays: dict[str, np.ndarray], source: str, policy: str = "ave"):
        if policy not in POLICIES:
            raise ModelError(f"policy {policy!r} is none of {', '.join(POLICIES)}")
        self.device = device
        self.source = source
        self._arrays = arrays
        self._percentiles = arrays["percentiles"]
        self._starts = arrays["starts"].tolist()
        self._times = _reduce(self._percentiles[:, MEDIAN], arrays["starts"], policy).tolist()
        digests = arrays["keys"].tobytes()
        self._rows = {digests[row * 16 : row * 16 + 16]: row for row in range(len(self._times))}

    @classmethod
    def load(cls, path: Path, device: str, policy: str = "ave") -> "Table":
        """Read a table through its index. Raises ModelError for a file that is none or has nothing of the
        device.
        """
        content = _read(path)
        index = _Index(index_path(content, device), lambda: _compile(_unpack(path, content), device, path))
        return cls(device, index, str(path), policy)

    @classmethod
    def of_records(cls, records: Iterable[dict], device: str, policy: str = "ave") -> "Table":
        """A table of records in memory."""
        lines = "\n".join(json.dumps({**record, "device": device}) for record in records)
        return cls(device, _compile(lines.encode(), device, Path("records")), "records", policy)

    def __len__(self) -> int:
        """How many different operators it knows."""
        return len(self._times)

    def time(self, signature: Signature) -> float | None:
        """The operator's time in µs, or None where the table lacks it; nothing stands in for it."""
        row = self._rows.get(signature.key)
        return None if row is None else self._times[row]

    def find(self, signature: Signature) -> Match | None:
        """The operator's records, else those of its substitute (Int8ConvRelu for Int8Conv), else None."""
        row = self._rows.get(signature.key)
        if row is not None:
            rows = slice(self._starts[row], self._starts[row + 1])
            return Match(signature, self._times[row], self._percentiles, rows)
        return self.find(signature.substitute) if signature.substitute else None

    def records(self, op_types: Iterable[str] | None = None) -> Iterator[tuple[dict, float]]:
        """One record (its op_type, op_args, input_shapes, input_dtypes) and time in µs per operator of
        these types.
        """
        wanted = None if op_types is None else {self._types.index(t) for t in op_types if t in self._types}
        texts, ends = self._arrays["texts"].tobytes(), self._arrays["ends"].tolist()
        for row, type_id in enumerate(self._arrays["types"].tolist()):
            if wanted is None or type_id in wanted:
                yield json.loads(texts[ends[row] : ends[row + 1]]), self._times[row]

    def nearest(self, signature: Signature) -> tuple[dict, float] | None:
        """The record (and its time in µs) of this type whose shapes are most like these; None without one.

        Shapes are compared by the ratios of their sizes; of equally near ones, equal arguments win.
        """
        if signature.op_type not in self._types:
            return None
        rows, logarithms = self._logarithms(self._types.index(signature.op_type), *layout(signature.shapes))
        if not len(rows):
            return next(self.records([signature.op_type]))
        flat = np.array([dim for shape in signature.shapes for dim in shape])
        distances = np.abs(logarithms - np.log(np.maximum(flat, 1)).astype(np.float32)).sum(axis=1)
        ties = rows[distances <= distances.min() + 1e-5][:MAX_TIES]
        records = [self._record(row) for row in ties.tolist()]
        alike = [r for r in records if Signature.of_record(r[0]).arguments == signature.arguments]
        return (alike or records)[0]

    @functools.cache  # noqa: B019  tables are few and live long
    def _logarithms(self, type_id: int, code: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows of the operators of a type and layout, logarithms of their sizes [rows, dims])."""
        rows = np.flatnonzero((self._arrays["types"] == type_id) & (self._arrays["layouts"] == code))
        return rows, np.log(np.maximum(self._arrays["dims"][rows, :dims], 1)).astype(np.float32)

    def _record(self, row: int) -> tuple[dict, float]:
        first, last = self._arrays["ends"][row : row + 2].tolist()
        return json.loads(self._arrays["texts"][first:last].tobytes()), self._times[row]

    @property
    def op_types(self) -> list[str]:
        return list(self._types)

    @property
    def _types(self) -> list[str]:
        return json.loads(self._arrays["type_names"].tobytes())


def index_path(content: bytes, device: str) -> Path:
    """Where the index of a table of this content is kept."""
    code = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in INDEX_CODE)
    name = hashlib.sha256(hashlib.sha256(content).digest() + code + device.encode()).hexdigest()
    return cache_dir() / "lut" / f"{name[:32]}.npz"


def find_table(folder: Path, device: str) -> Path | None:
    """The device's table in a folder, or None."""
    for name in DATABASE_NAMES:
        for packing in PACKINGS:
            if (path := folder / f"{device}-{name}{packing}").is_file():
                return path
    return None


def devices_in(folder: Path) -> list[str]:
    """Devices whose tables are in a folder."""
    suffixes = [f"-{name}{packing}" for name in DATABASE_NAMES for packing in PACKINGS]
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return list(dict.fromkeys(name.removesuffix(s) for name in names for s in suffixes if name.endswith(s)))


def layout(shapes: Iterable[Sequence[int]]) -> tuple[int, int]:
    """(a number that is equal for lists of shapes of equal ranks, how many sizes they hold in all)."""
    ranks = [len(shape) for shape in shapes]
    code = functools.reduce(lambda code, rank: code * (MAX_DIMS + 2) + rank + 1, ranks, 0)
    return (code, sum(ranks)) if sum(ranks) <= MAX_DIMS else (-1, 0)


def make_record(op_type, op_args, input_shapes, input_dtypes, percentiles_us, device: str, **more) -> dict:
    """A record in the schema's order; `more` follows (engine, date and the like)."""
    return {
        "op_type": op_type,
        "op_args": list(op_args),
        "input_shapes": [list(shape) for shape in input_shapes],
        "input_dtypes": list(input_dtypes),
        **{f"runtime_us_{name}": round(float(t), 2) for name, t in zip(PERCENTILES, percentiles_us, strict=True)},
        "device": device,
        **more,
    }


def _reduce(medians: np.ndarray, starts: np.ndarray, policy: str) -> np.ndarray:
    """One time per operator from the medians of its records."""
    first, counts = starts[:-1], np.diff(starts)
    if policy == "last":
        return medians[first + counts - 1]
    if policy == "ave":
        return np.add.reduceat(medians, first) / counts
    return (np.minimum if policy == "min" else np.maximum).reduceat(medians, first)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise ModelError(f"{path}: larger than {MAX_TABLE_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None


def _unpack(path: Path, content: bytes) -> bytes:
    """The JSON lines of a table file, plain or packed."""
    too_large = ModelError(f"{path}: unpacks to more than {MAX_TABLE_BYTES >> 20} MiB")
    try:
        if path.suffix == ".gz":
            import gzip

            with gzip.open(io.BytesIO(content)) as file:
                text = file.read(MAX_TABLE_BYTES + 1)
            if len(text) > MAX_TABLE_BYTES:
                raise too_large
            return text
        if path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [
                    m
                    for m in archive.infolist()
                    if m.filename.endswith(DATABASE_NAMES) and "__MACOSX" not in m.filename
                ]
                if len(members) != 1:
                    raise ModelError(f"{path}: holds {len(members)} files named *-{DATABASE_NAMES[0]}, not one")
                if members[0].file_size > MAX_TABLE_BYTES:
                    raise too_large
                return archive.read(members[0])
    except ModelError:
        raise
    except (OSError, *ARCHIVE_ERRORS) as error:
        raise ModelError(f"{path}: damaged archive ({error})") from None
    return content


def _compile(text: bytes, device: str, path: Path) -> dict[str, np.ndarray]:
    """Arrays over the device's operators, in order of first appearance.

    keys [n, 16] uint8 (Signature.key), starts [n + 1] into percentiles [records, 5] float64 in µs, types
    [n] into type_names (JSON), texts (first record of each) with ends [n + 1].
    """
    rows: dict[bytes, list[list[float]]] = {}
    texts, types, shapes, others = [], [], [], set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if record["device"] != device:
                others.add(record["device"])
                continue
            signature = Signature.of_record(record)
            key = signature.key
            if key not in rows:
                rows[key] = []
                types.append(record["op_type"])
                shapes.append(signature.shapes)
                texts.append(line)
            rows[key].append([float(record[f"runtime_us_{name}"]) for name in PERCENTILES])
        except KeyError as error:
            raise ModelError(f"{path}: line {number}: the record has no {error.args[0]}") from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{path}: line {number}: not a record of a latency table ({error})") from None
    if not rows:
        found = f"records of {', '.join(sorted(map(str, others)))}" if others else "no records"
        raise ModelError(f"{path}: nothing measured on {device} (it holds {found})")
    percentiles = np.array([row for group in rows.values() for row in group], np.float64)
    if not np.isfinite(percentiles).all() or (percentiles < 0).any():
        raise ModelError(f"{path}: holds a time that is negative or no number")
    type_names = sorted(set(types))
    codes, counts = zip(*map(layout, shapes), strict=True)
    dims = np.zeros((len(shapes), MAX_DIMS), np.int64)
    for row, count in enumerate(counts):
        dims[row, :count] = [dim for shape in shapes[row] for dim in shape][:count]
    return {
        "keys": np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16),
        "starts": np.cumsum([0, *map(len, rows.values())]),
        "percentiles": percentiles,
        "types": np.array([type_names.index(t) for t in types], np.int32),
        "layouts": np.array(codes, np.int64),
        "dims": np.minimum(dims, np.iinfo(np.int32).max).astype(np.int32),
        "type_names": np.frombuffer(json.dumps(type_names).encode(), np.uint8),
        "texts": np.frombuffer(b"".join(texts), np.uint8),
        "ends": np.cumsum([0, *map(len, texts)]),
    }


class _Index(dict):
    """Arrays kept in a file, each read when it is first asked for; all made anew where the file is missing
    or damaged.
    """

    def __init__(self, path: Path, compile_arrays: Callable[[], dict[str, np.ndarray]]):
        super().__init__()
        self._path, self._compile = path, compile_arrays

    def __missing__(self, name: str) -> np.ndarray:
        try:
            with np.load(self._path, allow_pickle=False) as archive:  # checks each array's CRC
                self[name] = archive[name]
        except (OSError, KeyError, *ARCHIVE_ERRORS):
            self.update(self._compile())
            with contextlib.suppress(OSError), open_atomically(self._path) as file:
                np.savez(file, **self)
        return self[name]
