"""What class an image is of: the standard ImageNet order, ground truth files, label maps.

A label is an index into the standard order of the 1000 synsets (sorted by WordNet id), 0...999,
unless a label map says otherwise.
"""

import enum
import functools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePosixPath

from caffe2_common.errors import ModelError

# Names under which ground truth comes with the images of ILSVRC 2012, most official first.
GROUND_TRUTH_NAMES = [
    "ILSVRC2012_validation_ground_truth.txt",
    "LOC_val_solution.csv",
    "imagenet_2012_validation_synset_labels.txt",
    "val.txt",
    "ground_truth.txt",
]
IMAGE_NUMBER = re.compile(r"_(\d{8})$")  # ILSVRC2012_val_00000001
SYNSET = re.compile(r"n\d{8}")
MAX_TABLE_BYTES = 1 << 24


@functools.cache
def synsets() -> tuple[str, ...]:
    """The 1000 WordNet ids of ILSVRC 2012 in the order of nearly every net's outputs."""
    return tuple(resources.files(__package__).joinpath("imagenet_synsets.txt").read_text(encoding="utf-8").split())


@functools.cache
def synset_labels() -> dict[str, int]:
    return {synset: label for label, synset in enumerate(synsets())}


class FolderRule(enum.Enum):
    """How class folders tell their labels."""

    SYNSETS = "named by synset"
    NUMBERS = "named by number"
    SORTED = "numbered in sorted order"


def folder_rule(names: Collection[str]) -> FolderRule:
    """The rule for class folders of these names. Raises ModelError where synsets and other names mix."""
    known = synset_labels()
    strangers = [name for name in names if name not in known]
    if not strangers:
        return FolderRule.SYNSETS
    if len(strangers) < len(names):
        raise ModelError(
            f"class folder {strangers[0]} is none of the 1000 ImageNet synsets, though others are; "
            "remove it, or map every folder with --label-map"
        )
    return FolderRule.NUMBERS if all(name.isdecimal() for name in names) else FolderRule.SORTED


def label_folders(names: Collection[str]) -> dict[str, int]:
    """The label of each class folder.

    Folders named by synset take the standard order, so that any subset works; folders named by number are
    that label; all others are numbered in sorted order. Raises ModelError where synsets and other names mix.
    """
    rule = folder_rule(names)
    if rule is FolderRule.SYNSETS:
        return {name: synset_labels()[name] for name in names}
    if rule is FolderRule.NUMBERS:
        return {name: int(name) for name in names}
    return {name: label for label, name in enumerate(sorted(names))}


def read_label_map(path: Path) -> dict[str, int]:
    """Class (folder name, synset, or label of the ground truth) -> index of the net's output.

    Three forms: JSON ({"n01440764": 0} or a list of classes), lines of `class index`, or one class
    a line, the first being output 0.
    """
    text = _read_text(path)
    if path.suffix == ".json":
        try:
            table = json.loads(text)
        except ValueError as error:
            raise ModelError(f"{path}: is no JSON ({error})") from None
    else:
        rows = [line.split() for line in text.splitlines() if line.strip()]
        pairs = all(len(row) > 1 and row[1].isdecimal() for row in rows)
        table = {row[0]: int(row[1]) for row in rows} if pairs else [row[0] for row in rows]
    if isinstance(table, list):
        table = {str(name): index for index, name in enumerate(table)}
    if not isinstance(table, dict) or not table or not all(type(v) is int and v >= 0 for v in table.values()):
        raise ModelError(f"{path}: a label map has lines of `class index`, or one class a line, or is JSON of that")
    return table


def find_ground_truth(path: Path) -> Path | None:
    """A ground truth file of a known name in the folder of images, or beside the folder or archive."""
    for folder in ([path] if path.is_dir() else []) + [path.parent]:
        for name in GROUND_TRUTH_NAMES:
            if (folder / name).is_file():
                return folder / name
    return None


def read_ground_truth(path: Path, names: Sequence[str], label_map: Mapping[str, int] | None = None) -> list[int]:
    """The label of every image in `names` (file names without their folders).

    Understood: `name class` or `name,class ...` lines (Caffe's val.txt, Kaggle's LOC_val_solution.csv), and
    one class a line, where line k belongs to ILSVRC2012_val_<k>. A class is a synset, a label from 0 or, in
    the official file of numbers from 1, an ILSVRC2012_ID; those have an order of their own, which meta.mat
    (or map_clsloc.txt) of the development kit tells: one of the two must lie beside the file.
    """
    rows = [re.split(r"[,\s]+", line.strip()) for line in _read_text(path).splitlines() if line.strip()]
    if rows and rows[0][0].lower() in ("imageid", "image", "filename"):
        rows = rows[1:]
    if not rows:
        raise ModelError(f"{path}: is empty; a ground truth file was expected")
    bare = all(len(row) == 1 for row in rows)
    if bare:
        classes = _classes_by_number(path, [row[0] for row in rows], names)
    elif all(len(row) > 1 for row in rows):
        classes = _classes_by_name(path, rows, names)
    else:
        short = next(index for index, row in enumerate(rows) if len(row) == 1)
        raise ModelError(f"{path}: line {short + 1} has an image without a class")
    known = label_map if label_map is not None else _known_classes(path, {row[0 if bare else 1] for row in rows}, bare)
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise ModelError(f"{path}: class {unknown[0]} is not known")
    return [known[name] for name in classes]


def _classes_by_name(path: Path, rows: list[list[str]], names: Sequence[str]) -> list[str]:
    table = {PurePosixPath(row[0]).stem: row[1] for row in rows}
    missing = [name for name in names if PurePosixPath(name).stem not in table]
    if missing:
        raise ModelError(f"{path}: says nothing of {missing[0]} ({len(missing)} of {len(names)} images)")
    return [table[PurePosixPath(name).stem] for name in names]


def _classes_by_number(path: Path, classes: list[str], names: Sequence[str]) -> list[str]:
    numbers = [IMAGE_NUMBER.search(PurePosixPath(name).stem) for name in names]
    found = [match for match in numbers if match]
    if len(found) == len(names):
        indices = [int(match.group(1)) - 1 for match in found]
    elif len(names) == len(classes):
        indices = list(range(len(names)))
    else:
        raise ModelError(
            f"{path}: has {len(classes)} lines for {len(names)} images, whose names carry no numbers "
            "(ILSVRC2012_val_00000001.JPEG) to find their line by"
        )
    outside = [name for name, index in zip(names, indices, strict=True) if not 0 <= index < len(classes)]
    if outside:
        raise ModelError(f"{path}: has {len(classes)} lines, none for {outside[0]}")
    return [classes[index] for index in indices]


def _known_classes(path: Path, classes: set[str], bare: bool) -> Mapping[str, int]:
    """Label of each class, by what the classes of the whole file are; bare: they stand alone on lines."""
    if not all(name.isdecimal() for name in classes):
        odd = sorted(name for name in classes if not SYNSET.fullmatch(name))
        if odd:
            raise ModelError(
                f"{path}: class {odd[0]} is neither a synset nor a number; name the classes with --label-map"
            )
        return synset_labels()
    if bare and "0" not in classes:
        ids = _read_ids(path.parent)
        if ids is None:
            raise ModelError(
                f"{path}: numbers from 1 are ILSVRC2012_IDs, whose order is the development kit's; "
                "put its meta.mat (or map_clsloc.txt) beside the file, or map the numbers with --label-map"
            )
        known = synset_labels()
        return {str(number): known[synset] for number, synset in ids.items() if synset in known}
    return {name: int(name) for name in classes}


def _read_ids(folder: Path) -> dict[int, str] | None:
    """ILSVRC2012_ID -> synset, from the development kit's files in this folder."""
    text = folder / "map_clsloc.txt"
    if text.is_file():
        rows = [line.split() for line in _read_text(text).splitlines()]
        return {int(row[1]): row[0] for row in rows if len(row) > 1 and row[1].isdecimal()}
    matlab = folder / "meta.mat"
    if not matlab.is_file():
        return None
    try:
        from scipy.io import loadmat
    except ImportError:
        raise ModelError(f"{matlab}: is read with SciPy: pip install scipy") from None
    try:
        records = loadmat(matlab, squeeze_me=True, struct_as_record=False)["synsets"]
        return {int(record.ILSVRC2012_ID): str(record.WNID) for record in records}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{matlab}: is not the meta.mat of ILSVRC 2012 ({error})") from None


def _read_text(path: Path) -> str:
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise ModelError(f"{path}: is larger than {MAX_TABLE_BYTES >> 20} MiB, which no table of labels is")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise ModelError(f"{path}: is no text file") from None
