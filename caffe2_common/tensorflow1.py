"""The evaluation preprocessing of TensorFlow 1's MnasNet and EfficientNet, without TensorFlow.

The centre of size / (size + 32) of the shorter side, then tf.image.resize_images as it was: no
antialiasing, pixel corners aligned at the origin (half_pixel_centers=False), float32 arithmetic in the
kernels' own order (tensorflow/core/kernels/image/resize_bilinear_op.cc, resize_bicubic_op.cc), and at last
rounded to bytes, which is how ported weights had their published accuracy measured. Equal to TensorFlow to
the last bit on the same pixels; but by default TensorFlow decodes JPEG with the fast integer DCT, Pillow
with the accurate one, which makes 1.2 grey levels on average (22 at most, on 100 images).
"""

import functools

import numpy as np

PADDING = 32
TABLE_SIZE = 1024  # the bicubic kernel's weights are tabulated at 1/1024 of a pixel
A = -0.75  # of the cubic kernel


def crop_and_resize(pixels: np.ndarray, size: int, interpolation: str) -> np.ndarray:
    """uint8 [height, width(, channels)] -> uint8 [size, size(, channels)]."""
    height, width = pixels.shape[:2]
    side = max(int(np.float32(size / (size + PADDING)) * np.float32(min(height, width))), 1)
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    crop = pixels[top : top + side, left : left + side]
    return RESIZE[interpolation](crop, size).round().clip(0, 255).astype(np.uint8)


def resize_bilinear(pixels: np.ndarray, size: int) -> np.ndarray:
    """tf.compat.v1.image.resize_bilinear of [height, width, ...] to float32 [size, size, ...]."""
    rows, columns = (_Source(length, size) for length in pixels.shape[:2])
    upper, lower = (pixels[index].astype(np.float32) for index in (rows.index, rows.next))
    left, right = columns.index, columns.next
    x, y = columns.fraction[np.newaxis, :], rows.fraction[:, np.newaxis]
    if pixels.ndim > 2:
        x, y = x[..., np.newaxis], y[..., np.newaxis]
    top = upper[:, left] + (upper[:, right] - upper[:, left]) * x
    bottom = lower[:, left] + (lower[:, right] - lower[:, left]) * x
    return top + (bottom - top) * y


def resize_bicubic(pixels: np.ndarray, size: int) -> np.ndarray:
    """tf.compat.v1.image.resize_bicubic of [height, width, ...] to float32 [size, size, ...]; rows first."""
    for axis in (0, 1):
        source = _Source(pixels.shape[axis], size)
        offset = np.rint(source.fraction * np.float32(TABLE_SIZE)).astype(np.int64)
        outside, inside = _cubic_tables()
        weights = (outside[offset], inside[offset], inside[TABLE_SIZE - offset], outside[TABLE_SIZE - offset])
        shape = [1] * pixels.ndim
        shape[axis] = size
        terms = []
        for tap, weight in enumerate(weights, start=-1):
            index = np.clip(source.index + tap, 0, source.length - 1)
            terms.append(pixels.take(index, axis).astype(np.float32) * weight.reshape(shape))
        pixels = functools.reduce(np.add, terms)
    return pixels


RESIZE = {"bilinear": resize_bilinear, "bicubic": resize_bicubic}


class _Source:
    """Where each output pixel falls on one axis of the source: index + fraction."""

    def __init__(self, length: int, size: int):
        position = np.arange(size, dtype=np.float32) * (np.float32(length) / np.float32(size))
        self.length = length
        self.index = np.floor(position).astype(np.int64)
        self.next = np.minimum(np.ceil(position).astype(np.int64), length - 1)
        self.fraction = position - np.floor(position)


def _cubic_tables() -> tuple[np.ndarray, np.ndarray]:
    """Weights at distance 1 + k/1024 and k/1024, float32 [1025] each, of the cubic convolution kernel."""
    near = np.arange(TABLE_SIZE + 1) / TABLE_SIZE
    far = near + 1
    inside = ((A + 2) * near - (A + 3)) * near * near + 1
    outside = ((A * far - 5 * A) * far + 8 * A) * far - 4 * A
    return outside.astype(np.float32), inside.astype(np.float32)
