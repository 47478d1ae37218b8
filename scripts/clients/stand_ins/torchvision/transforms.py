"""The transforms of validation, on Pillow's images, as torchvision has them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image


class Compose:
    def __init__(self, transforms: Sequence[Callable[[Any], Any]]):
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    """size: (height, width), or the shorter edge's."""

    def __init__(self, size: int | tuple[int, int], interpolation: int = Image.Resampling.BILINEAR):
        self.size, self.interpolation = size, interpolation

    def __call__(self, image: Image.Image) -> Image.Image:
        if not isinstance(self.size, int):
            return image.resize(self.size[::-1], self.interpolation)
        short = min(image.size)
        width, height = (self.size if edge == short else int(self.size * edge / short) for edge in image.size)
        return image.resize((width, height), self.interpolation)


class CenterCrop:
    def __init__(self, size: int | tuple[int, int]):
        self.height, self.width = (size, size) if isinstance(size, int) else size

    def __call__(self, image: Image.Image) -> Image.Image:
        left, top = round((image.width - self.width) / 2), round((image.height - self.height) / 2)
        return image.crop((left, top, left + self.width, top + self.height))


class ToTensor:
    def __call__(self, image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy()).float() / 255


class Normalize:
    def __init__(self, mean: torch.Tensor, std: torch.Tensor):
        self.mean, self.std = mean[:, None, None], std[:, None, None]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.mean) / self.std
