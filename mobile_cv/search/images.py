"""Labelled images for training: the digits, CIFAR-10, ImageNet-style folders; augmentation; batches.

An image is uint8 [height, width, 3], RGB. What happens to it is a function of the seed, the epoch and its
index alone, whatever process or worker does it: an interrupted run goes on exactly as it would have.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from caffe2_common.errors import ModelError
from caffe2_common.images import complete, decode, normalize, pixel_table, resize_and_crop
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Size, pair_of
from mobile_cv.model_zoo.architecture import IMAGENET_MEAN, IMAGENET_STD
from mobile_cv.search.cifar10 import download_cifar10, read_cifar10

SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp"}

Augmentation = Callable[[np.ndarray, Size, random.Random], np.ndarray]


class ArrayImages:
    """Images in memory: uint8 [n, height, width, 3] and labels int64 [n]."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        return self.images[index]


class FolderImages:
    """Images in class folders, decoded when they are read."""

    def __init__(self, root: Path, classes: Sequence[str]):
        self.root, self.paths, labels = root, [], []
        for label, name in enumerate(classes):
            folder = root / name
            found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
            if not found:
                raise ModelError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))})")
            self.paths += found
            labels += [label] * len(found)
        self.labels = np.array(labels, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        path = self.paths[index]
        try:
            return np.asarray(decode(path.read_bytes()))
        except (OSError, ValueError, SyntaxError) as error:
            raise ModelError(f"{path}: cannot be decoded ({error})") from None


Images = ArrayImages | FolderImages


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: images to train on, images held out, and how they become input.

    size: of the images where all have the same, else None. mean and std are of pixels / 255.
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    augment: Augmentation
    size: int | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


def open_data(name: str, root: str | Path | None = None) -> Data:
    """digits (scikit-learn's), cifar10 (from root, its archive or a folder; downloaded into it if missing),
    or the path of a folder with train/ and val/, each of one folder per class.
    """
    if name == "digits":
        return load_digits()
    if name == "cifar10":
        return load_cifar10(root)
    return load_folder(name)


DIGITS_SIZE = 32


def load_digits() -> Data:
    """scikit-learn's 1797 handwritten digits, 8 x 8, enlarged to 32 x 32 RGB; every third is held out."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        raise ModelError("the digits come with scikit-learn: pip install 'caffe2-mobile[demo]'") from None
    digits = load()
    small = np.round(digits.images * (255 / 16)).astype(np.uint8)
    size = (DIGITS_SIZE, DIGITS_SIZE)
    large = np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in small])
    images = np.repeat(large[..., None], 3, axis=3)
    held_out = np.arange(len(images)) % 3 == 2
    labels = digits.target.astype(np.int64)
    return Data(
        "digits",
        ArrayImages(images[~held_out], labels[~held_out]),
        ArrayImages(images[held_out], labels[held_out]),
        tuple("0123456789"),
        crop_padded,
        DIGITS_SIZE,
        mean=(0.305,) * 3,
        std=(0.37,) * 3,
    )


def load_cifar10(root: str | Path | None) -> Data:
    if root is None:
        raise ModelError("cifar10 needs --data-dir: where its archive is, or shall be downloaded to")
    root = Path(root)
    if not root.exists() or (root.is_dir() and not any(root.glob("cifar-10*"))):
        root = download_cifar10(root)
    train, test, classes = read_cifar10(root)
    return Data(
        "cifar10",
        ArrayImages(*train),
        ArrayImages(*test),
        tuple(classes),
        crop_padded_and_flip,
        32,
        mean=(0.49139968, 0.48215827, 0.44653124),
        std=(0.2023, 0.1994, 0.2010),
    )


def load_folder(name: str) -> Data:
    root = Path(name)
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise ModelError(
                f"{name}: no such data; give digits, cifar10, or a folder with train/ and val/, "
                "each of a folder per class"
            )
    classes = [sorted(p.name for p in (root / part).iterdir() if p.is_dir()) for part in ("train", "val")]
    if classes[0] != classes[1] or len(classes[0]) < 2:
        odd = sorted(set(classes[0]) ^ set(classes[1])) or ["(only one)"]
        raise ModelError(f"{name}: train/ and val/ do not have the same class folders: {odd[0]}")
    train, test = (FolderImages(root / part, classes[0]) for part in ("train", "val"))
    return Data(root.resolve().name, train, test, tuple(classes[0]), resized_crop_and_flip)


PADDING = 4


def crop_padded(image: np.ndarray, size: Size, rng: random.Random) -> np.ndarray:
    """A random crop of the image padded by 4 black pixels on each side."""
    padded = np.pad(image, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    height, width = pair_of(size)
    top, left = (rng.randint(0, padded.shape[axis] - side) for axis, side in enumerate((height, width)))
    return padded[top : top + height, left : left + width]


def crop_padded_and_flip(image: np.ndarray, size: Size, rng: random.Random) -> np.ndarray:
    """crop_padded, mirrored half of the time: CIFAR-10's usual augmentation."""
    cropped = crop_padded(image, size, rng)
    return cropped[:, ::-1] if rng.random() < 0.5 else cropped


AREA, ASPECT, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10


def resized_crop_and_flip(image: np.ndarray, size: Size, rng: random.Random) -> np.ndarray:
    """A crop of 8 to 100 % of the area and of aspect 3/4 to 4/3, resized, mirrored half of the time: the
    augmentation of ImageNet training that the paper uses.
    """
    height, width = image.shape[:2]
    left, top, w, h = 0, 0, width, height
    for _ in range(ATTEMPTS):
        area = height * width * rng.uniform(*AREA)
        aspect = math.exp(rng.uniform(*map(math.log, ASPECT)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.randint(0, width - w), rng.randint(0, height - h)
            break
    else:
        w = h = min(width, height)
        left, top = (width - w) // 2, (height - h) // 2
    box = (left, top, left + w, top + h)
    resized = Image.fromarray(image).resize(pair_of(size)[::-1], Image.Resampling.BILINEAR, box)
    if rng.random() < 0.5:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(resized)


class Augmented(Dataset):
    """Items (image uint8 [height, width, 3], label) by key (epoch, index): the image as that epoch has it."""

    def __init__(self, images: Images, augment: Augmentation, size: Size, seed: int):
        self.images, self.augment, self.size, self.seed = images, augment, size, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int]:
        epoch, index = key
        rng = random.Random(f"{self.seed}/{epoch}/{index}")
        return self.augment(self.images.read(index), self.size, rng), int(self.images.labels[index])


class Plain(Dataset):
    """Items (input float32 [3, height, width], label) by index: what validation makes of an image for a net."""

    def __init__(self, images: Images, preprocessing: Preprocessing):
        """Raises ModelError for preprocessing that is not possible."""
        self.images, self.preprocessing = images, complete(preprocessing)
        self.table = pixel_table(self.preprocessing)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        crop = resize_and_crop(Image.fromarray(self.images.read(index)), self.preprocessing)
        return normalize(crop, self.table), int(self.images.labels[index])


def load_batches(dataset: Dataset, keys: list[list], workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """(images, labels int64 [n]) for each list of keys: uint8 [n, size, size, 3] of Augmented, float32 [n, 3, size,
    size] of Plain.
    """
    return iter(DataLoader(dataset, batch_sampler=keys, num_workers=workers, collate_fn=_collate))


def _collate(items: list[tuple[np.ndarray, int]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*items, strict=True)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def split(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices 0 ... count-1 at random in two parts, the first with that share of them; both sorted."""
    order = random.Random(f"{seed}/split").sample(range(count), count)
    cut = round(count * share)
    return sorted(order[:cut]), sorted(order[cut:])


def batches_of(indices: Sequence[int], batch_size: int, epoch: int, seed: int) -> list[list[tuple[int, int]]]:
    """The keys of an epoch's batches, in an order of its own; the last, shorter one is left out."""
    order = random.Random(f"{seed}/{epoch}/order").sample(list(indices), len(indices))
    return [
        [(epoch, index) for index in order[start : start + batch_size]]
        for start in range(0, len(order) - batch_size + 1, batch_size)
    ]
