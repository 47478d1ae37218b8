"""caffe2.python.visualize: tensors as pictures, by matplotlib (caffe2-mobile's extra `plots`)."""

from typing import Any

import numpy as np


def ChannelFirst(arr: np.ndarray) -> np.ndarray:
    """HWC to CHW."""
    return np.moveaxis(arr, -1, -3)


def ChannelLast(arr: np.ndarray) -> np.ndarray:
    """CHW to HWC."""
    return np.moveaxis(arr, -3, -1)


def _pyplot() -> Any:
    from matplotlib import pyplot

    return pyplot


class PatchVisualizer:
    """Shows patches: [n, n], [n, n, 3], or flat ones that are square; several in a grid with gaps."""

    def __init__(self, gap: int = 1):
        self.gap = gap

    def ShowSingle(self, patch: np.ndarray, cmap: Any = None) -> np.ndarray:
        if patch.ndim == 1:
            patch = patch.reshape(self.get_patch_shape(patch))
        elif patch.ndim > 2 and patch.shape[2] != 3:
            raise ValueError("The input patch shape isn't correct.")
        _pyplot().imshow(patch, cmap="gray" if patch.ndim == 2 and cmap is None else cmap)
        return patch

    def ShowMultiple(
        self, patches: np.ndarray, ncols: int | None = None, cmap: Any = None, bg_func: Any = np.mean
    ) -> np.ndarray:
        columns = int(np.ceil(np.sqrt(len(patches)))) if ncols is None else ncols
        rows = -(-len(patches) // columns)
        if patches.ndim == 2:
            patches = patches.reshape(len(patches), *self.get_patch_shape(patches[0]))
        if patches.ndim == 4 and patches.shape[3] == 1:
            patches = patches[..., 0]
        if patches.ndim not in (3, 4) or (patches.ndim == 4 and patches.shape[3] != 3):
            raise ValueError("The input patch shape isn't expected.")
        height, width = patches.shape[1:3]
        size = (rows * (height + self.gap) - self.gap, columns * (width + self.gap) - self.gap)
        image = np.full((*size, *patches.shape[3:]), bg_func(patches), float)
        for position, patch in enumerate(patches):
            top = position // columns * (height + self.gap)
            left = position % columns * (width + self.gap)
            image[top : top + height, left : left + width] = patch
        plot = _pyplot()
        plot.imshow(image, cmap="gray" if patches.ndim == 3 and cmap is None else cmap, interpolation="nearest")
        plot.axis("off")
        return image

    def ShowImages(self, patches: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        """Several, with values brought to 0 ... 1."""
        patches = patches - np.min(patches)
        patches = patches / (np.max(patches) + np.finfo(np.float64).eps)
        return self.ShowMultiple(patches, *args, **kwargs)

    def ShowChannels(self, patch: np.ndarray, cmap: Any = None, bg_func: Any = np.mean) -> np.ndarray:
        """Each channel of [height, width, channels] as a gray patch."""
        if patch.ndim != 3:
            raise ValueError("The input patch shape isn't correct.")
        return self.ShowMultiple(np.moveaxis(patch, -1, 0), cmap=cmap, bg_func=bg_func)

    def get_patch_shape(self, patch: np.ndarray) -> tuple[int, ...]:
        """The square, of one channel or three, that a flat patch is."""
        for channels in (1, 3):
            side = int(np.sqrt(patch.size / channels))
            if side * side * channels == patch.size:
                return (side, side) if channels == 1 else (side, side, 3)
        raise ValueError("I can't figure out the patch shape.")


_default_visualizer = PatchVisualizer()


class NHWC:
    """The default visualizer's functions, for images with the channels last."""

    @staticmethod
    def ShowSingle(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        _default_visualizer.ShowSingle(patch, *args, **kwargs)

    @staticmethod
    def ShowMultiple(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        _default_visualizer.ShowMultiple(patch, *args, **kwargs)

    @staticmethod
    def ShowImages(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        _default_visualizer.ShowImages(patch, *args, **kwargs)

    @staticmethod
    def ShowChannels(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        _default_visualizer.ShowChannels(patch, *args, **kwargs)


class NCHW:
    """The same, for images with the channels first."""

    @staticmethod
    def ShowSingle(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        _default_visualizer.ShowSingle(ChannelLast(patch), *args, **kwargs)

    @staticmethod
    def ShowMultiple(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        _default_visualizer.ShowMultiple(ChannelLast(patch), *args, **kwargs)

    @staticmethod
    def ShowImages(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        _default_visualizer.ShowImages(ChannelLast(patch), *args, **kwargs)

    @staticmethod
    def ShowChannels(patch: np.ndarray, *args: Any, **kwargs: Any) -> None:
        _default_visualizer.ShowChannels(ChannelLast(patch), *args, **kwargs)
