"""Calibration images from a folder, decoded as the validator decodes them."""

import os
from collections.abc import Iterator

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.images import MAX_PIXELS, complete, normalize, pixel_table, read_crop
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import pair_of
from validate.dataset import Dataset, open_dataset, open_unlabelled, select

CACHE_BYTES = 1 << 28  # of decoded crops; what does not fit is decoded again


class FolderImages:
    """Images of a folder: float32 [channels, height, width] each. labels: int64 [n], or None where there are none."""

    def __init__(
        self,
        dataset: Dataset,
        indices: np.ndarray,
        preprocessing: Preprocessing,
        channels: int = 3,
        max_pixels: int = MAX_PIXELS,
    ):
        self.dataset, self.indices, self.channels = dataset, indices, channels
        self.preprocessing = complete(preprocessing, channels)
        self.max_pixels = max_pixels
        self._crops: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> np.ndarray | None:
        labels = self.dataset.labels[self.indices]
        return labels if self.dataset.is_labelled else None

    @property
    def is_imagenet(self) -> bool:
        """Whether labels are indices into the standard order of 1000 classes."""
        return self.dataset.is_imagenet

    def part(self, positions: np.ndarray) -> "FolderImages":
        """Some of these images. positions: int64 [n], in their order."""
        return self.at(self.indices[positions])

    def others(self, limit: int) -> "FolderImages":
        """At most `limit` of the folder's other images, evenly spaced."""
        left = np.setdiff1d(np.arange(len(self.dataset)), self.indices)
        return self.at(left[np.arange(limit) * len(left) // limit] if limit < len(left) else left)

    def at(self, indices: np.ndarray) -> "FolderImages":
        """Other images of the folder, read alike. indices: int64 [n], into the dataset."""
        return FolderImages(self.dataset, indices, self.preprocessing, self.channels, self.max_pixels)

    def __iter__(self) -> Iterator[np.ndarray]:
        table = pixel_table(self.preprocessing)
        for position in range(len(self)):
            pixels = np.empty((self.channels, *pair_of(self.preprocessing.size)), np.float32)
            normalize(self._crop(position), table, pixels)
            yield pixels

    def _crop(self, position: int) -> np.ndarray:
        if position < len(self._crops):
            return self._crops[position]
        index = int(self.indices[position])
        try:
            crop = read_crop(self.dataset.read(index), self.preprocessing, self.channels, self.max_pixels)
        except Exception as error:  # whatever a decoder makes of broken content
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"{self.dataset.path / self.dataset.names[index]}: {reason}") from None
        if position == len(self._crops) and (position + 1) * crop.nbytes <= CACHE_BYTES:
            self._crops.append(crop)
        return crop


def open_images(
    path: str | os.PathLike[str],
    limit: int | None,
    preprocessing: Preprocessing,
    channels: int,
    max_pixels: int = MAX_PIXELS,
) -> FolderImages:
    """`limit` images of a folder or archive, evenly spaced over all of them; labels are known where class folders or
    a ground truth tell them.

    An image of more than max_pixels is refused when it is read. Raises ModelError where there are no images, and for
    preprocessing that is not possible.
    """
    try:
        dataset = open_dataset(path)
    except ModelError:
        dataset = open_unlabelled(path)
    return FolderImages(dataset, select(dataset, limit), preprocessing, channels, max_pixels)
