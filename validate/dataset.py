"""Labelled images in a folder or a .tar archive, in one fixed order."""

import functools
import hashlib
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from caffe2_common.errors import ModelError
from validate.labels import (
    FolderRule,
    find_ground_truth,
    folder_rule,
    label_folders,
    read_ground_truth,
    read_label_map,
    synset_labels,
)

SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
MAX_IMAGE_BYTES = 1 << 28
UNKNOWN = -1  # the label of an image that nobody labelled


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, sorted by name.

    names are paths relative to the folder or archive; labels int64 [n]. `is_imagenet` says that labels are
    indices into the standard order of 1000 synsets; `spans` holds (offset, bytes) in an archive, else
    nothing. `labelled_by` says what told the labels; `sorted_classes` is how many class folders had to be numbered in
    sorted order, for want of names that tell their labels (else 0).
    """

    path: Path
    names: list[str]
    labels: np.ndarray
    is_imagenet: bool
    spans: list[tuple[int, int]] | None = None
    labelled_by: str = ""
    sorted_classes: int = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_labelled(self) -> bool:
        return UNKNOWN not in self.labels

    def read(self, index: int) -> bytes:
        """The image file's content. Raises OSError or ModelError where it cannot be had."""
        if self.spans is None:
            path = self.path / self.names[index]
            if path.stat().st_size > MAX_IMAGE_BYTES:
                raise ModelError(f"larger than {MAX_IMAGE_BYTES >> 20} MiB")
            return path.read_bytes()
        offset, size = self.spans[index]
        with open(self.path, "rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) < size:
            raise ModelError("the archive ends within this image")
        return content

    @functools.cached_property
    def fingerprint(self) -> str:
        """Tells two sets of images apart by names and labels, wherever they lie."""
        digest = hashlib.sha256()
        for name, label in zip(self.names, self.labels.tolist(), strict=True):
            digest.update(f"{name}\0{label}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]


def open_dataset(
    path: str | os.PathLike[str],
    ground_truth: str | os.PathLike[str] | None = None,
    label_map: str | os.PathLike[str] | None = None,
) -> Dataset:
    """List the images of a folder of class folders, or of a flat folder with its ground truth, or of a .tar
    of either.

    Raises ModelError (or OSError) in one line: no such path, no images, no labels.
    """
    path = Path(path)
    names, spans = _list(path)
    mapping = read_label_map(Path(label_map)) if label_map is not None else None
    if ground_truth is None and _has_classes(names):
        classes = list(dict.fromkeys(map(_class_of, names)))
        labels, labelled_by, rule = _labels_of_folders(path, names, classes, mapping)
        is_imagenet = rule is FolderRule.SYNSETS
        sorted_classes = len(classes) if rule is FolderRule.SORTED else 0
    else:
        truth = Path(ground_truth) if ground_truth is not None else _find_ground_truth(path)
        labels = read_ground_truth(truth, [PurePosixPath(name).name for name in names], mapping)
        labelled_by, is_imagenet, sorted_classes = f"ground truth {truth}", mapping is None, 0
    if label_map is not None:
        labelled_by += f", label map {label_map}"
    return Dataset(path, names, np.array(labels, np.int64), is_imagenet, spans, labelled_by, sorted_classes)


def open_unlabelled(path: str | os.PathLike[str]) -> Dataset:
    """List the images of a folder or .tar, whatever they show: every label is UNKNOWN.

    Raises ModelError (or OSError) in one line: no such path, no images.
    """
    path = Path(path)
    names, spans = _list(path)
    return Dataset(path, names, np.full(len(names), UNKNOWN, np.int64), False, spans)


def select(
    dataset: Dataset, limit: int | None = None, shard: tuple[int, int] = (0, 1), batch_size: int = 1
) -> np.ndarray:
    """Indices of `limit` images, evenly spaced; of their batches every N-th from the I-th on (shard is I, N).

    A shard has whole batches, so that it feeds the net what the run in one piece does.
    """
    indices = np.arange(len(dataset))
    if limit is not None and limit < len(dataset):
        indices = np.arange(limit) * len(dataset) // limit
    number, count = shard
    return indices[np.arange(len(indices)) // batch_size % count == number]


def _list(path: Path) -> tuple[list[str], list[tuple[int, int]] | None]:
    """Names of all images, sorted, and where they lie in an archive."""
    if path.is_dir():
        names, spans = _list_folder(path), None
    elif path.is_file():
        members = _list_archive(path)
        names = sorted(members)
        spans = [members[name] for name in names]
    else:
        raise ModelError(f"{path}: no such folder or archive of images")
    if not names:
        raise ModelError(f"{path}: holds no images ({', '.join(sorted(SUFFIXES))})")
    return names, spans


def _list_folder(root: Path) -> list[str]:
    names = []
    for folder, folders, files in os.walk(root, onerror=_raise, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        names += [name if relative == "." else f"{relative}/{name}" for name in files if _is_image(name)]
    return sorted(names)


def _list_archive(path: Path) -> dict[str, tuple[int, int]]:
    """Image name -> (offset, bytes) in an uncompressed tar; contents are read later, straight from there."""
    total = path.stat().st_size
    members = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile() and _is_image(PurePosixPath(member.name).name):
                    if not 0 <= member.size <= min(MAX_IMAGE_BYTES, total):
                        raise ModelError(f"{path}: {member.name} claims {member.size} bytes")
                    members[member.name.removeprefix("./")] = (member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ModelError(f"{path}: is no folder and no uncompressed .tar archive ({error})") from None
    return members


def _labels_of_folders(
    path: Path, names: list[str], classes: list[str], mapping: Mapping[str, int] | None
) -> tuple[list[int], str, FolderRule | None]:
    """(label of each image, what told them, the rule where it was the folders' names)."""
    rule = folder_rule(classes) if mapping is None else None
    known = mapping if mapping is not None else label_folders(classes)
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise ModelError(f"{path}: class folder {unknown[0]} is not in the label map")
    count = f"{len(classes)} class folder{'s' * (len(classes) != 1)}"
    return [known[_class_of(name)] for name in names], f"{count} {rule.value}" if rule else count, rule


def _find_ground_truth(path: Path) -> Path:
    truth = find_ground_truth(path)
    if truth is None:
        raise ModelError(
            f"{path}: images without class folders need their labels: --ground-truth FILE, "
            "or ILSVRC2012_validation_ground_truth.txt beside them"
        )
    return truth


def _has_classes(names: list[str]) -> bool:
    """Whether images lie in class folders; a lone folder that is no synset is only the archive's own top."""
    folders = {PurePosixPath(name).parent.name for name in names}
    if "" in folders:
        return False
    return len(folders) > 1 or folders <= synset_labels().keys()


def _class_of(name: str) -> str:
    return PurePosixPath(name).parent.name


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _raise(error: OSError) -> None:
    raise error
