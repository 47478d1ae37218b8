"""From an image file to a net's input, by the rules under which the published accuracies were measured.

Those are torchvision's, on Pillow: the shorter side (relative to a rectangle's) becomes floor(size / crop_pct),
the longer one is truncated to a whole pixel, the centre is cut out; all images become RGB, without regard to an
EXIF orientation. Where the margins cannot be equal the left and upper one is the smaller, always, as in the
crops behind Caffe2's recorded accuracies; torchvision alternates (it rounds halves to even), so that every
eighth image or so lies one pixel further there. With tf_preprocessing the rules are those of TensorFlow 1
(tensorflow1.py).
"""

import contextlib
import io
import math
import threading
from collections.abc import Iterator
from typing import TypeGuard

import numpy as np
from PIL import Image, UnidentifiedImageError

from caffe2_common import tensorflow1
from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import pair_of, size_text

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")  # those decoded without outside programs
MAX_SIZE = 4096
MAX_RESIZED_PIXELS = 1 << 27  # an image of 1 x 10,000 pixels would otherwise grow without bound
MAX_PIXELS = 178_956_970  # of an image, as Pillow has it: 1/2 GiB of RGB; what is larger may be a small file's trap
MODES = {1: "L", 3: "RGB"}


def complete(preprocessing: Preprocessing, channels: int = 3) -> Preprocessing:
    """The same with one mean and std for each channel, every value checked.

    Raises ModelError in one line that names the value and what it may be.
    """
    p = preprocessing
    if channels not in MODES:
        raise ModelError(f"invalid input of {channels} channels: expected 1 or 3, as images have")
    sides = p.size if isinstance(p.size, tuple) else (p.size, p.size)
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= MAX_SIZE for side in sides):
        raise ModelError(f"invalid image size {p.size}: expected 1 ... {MAX_SIZE}")
    if p.tf_preprocessing and sides[0] != sides[1]:
        raise ModelError(f"invalid image size {size_text(p.size)}: TensorFlow's preprocessing makes squares")
    allowed = tensorflow1.RESIZE if p.tf_preprocessing else INTERPOLATIONS
    if str(p.interpolation) not in allowed:
        where = " with TensorFlow preprocessing" if p.tf_preprocessing else ""
        raise ModelError(f"invalid interpolation {p.interpolation}{where}: expected one of {', '.join(allowed)}")
    if p.channel_order not in ("RGB", "BGR"):
        raise ModelError(f"invalid channel order {p.channel_order}: expected RGB or BGR")
    if not _is_number(p.crop_pct) or not 0 < p.crop_pct <= 1:
        raise ModelError(f"invalid crop_pct {p.crop_pct}: expected a number above 0, up to 1")
    if not _is_number(p.divisor) or p.divisor == 0:
        raise ModelError(f"invalid divisor {p.divisor}: expected a number other than 0")
    mean, std = (_per_channel(name, getattr(p, name), channels) for name in ("mean", "std"))
    if 0 in std:
        raise ModelError(f"invalid std {list(std)}: expected numbers other than 0")
    return p.replace(mean=mean, std=std)


def read_crop(
    content: bytes, preprocessing: Preprocessing, channels: int = 3, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decode, resize, crop: uint8 [height, width, channels], channels in the net's order.

    Raises ModelError or what Pillow raises where the content is broken, no image, or has more than max_pixels.
    """
    return resize_and_crop(decode(content, channels, max_pixels), preprocessing)


def decode(content: bytes, channels: int = 3, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image, RGB or (channels = 1) grey, whatever Pillow reads: its content decides, not the file's name.

    Raises ModelError or what Pillow raises where the content is broken, no image, or has more than max_pixels.
    """
    try:
        with _without_pillows_limit():
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise ModelError(f"not an image ({', '.join(FORMATS)})") from None
    if image.width * image.height > max_pixels:
        raise ModelError(f"{image.width} x {image.height} pixels exceed {max_pixels:,} (--max-pixels allows more)")
    mode = MODES[channels]
    return image.convert(mode)


def resize_and_crop(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """The net's part of an image: uint8 [height, width, channels], channels in the net's order."""
    if preprocessing.tf_preprocessing:
        side, width = pair_of(preprocessing.size)
        if side != width:
            raise ModelError(f"{side}x{width} pixels: TensorFlow's preprocessing makes squares only")
        pixels = tensorflow1.crop_and_resize(np.asarray(image), side, preprocessing.interpolation)
    else:
        pixels = np.asarray(_resize_and_crop(image, preprocessing))
    pixels = pixels.reshape(*pair_of(preprocessing.size), -1)
    return pixels[:, :, ::-1] if preprocessing.channel_order == "BGR" else pixels


def pixel_table(preprocessing: Preprocessing) -> np.ndarray:
    """The net's input for each pixel value: float32 [channels, 256] of (pixel / divisor - mean) / std.

    Computed in float32 step by step, as torchvision's ToTensor and Normalize do.
    """
    pixels = np.arange(256, dtype=np.float32) / np.float32(preprocessing.divisor)
    mean, std = (np.array(v, np.float32)[:, np.newaxis] for v in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


def normalize(crop: np.ndarray, table: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Look the pixels of a crop (uint8 HWC) up in pixel_table's table: float32 CHW, into `out` where given."""
    out = np.empty((len(table), *crop.shape[:2]), np.float32) if out is None else out
    for channel, values in enumerate(table):
        np.take(values, crop[:, :, channel], out=out[channel], mode="clip")
    return out


def describe(preprocessing: Preprocessing) -> str:
    """On one line, as every run prints it."""
    p = preprocessing
    size, side = size_text(p.size), pair_of(p.size)[0]
    crop = f"centre {side}/{side + 32}, TensorFlow 1 resize" if p.tf_preprocessing else f"crop {p.crop_pct:g}"
    mean, std = (" ".join(f"{v:g}" for v in values) for values in (p.mean, p.std))
    formula = f"(pixel / {p.divisor:g} - [{mean}]) / [{std}]"
    return f"{size} px, {p.interpolation}, {crop}, {p.channel_order}, {formula}"


def _resize_and_crop(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    width, height = image.size
    crop_height, crop_width = pair_of(preprocessing.size)
    rows, columns = (math.floor(side / preprocessing.crop_pct) for side in (crop_height, crop_width))
    if width * rows < height * columns:
        new_width, new_height = columns, int(columns * height / width)
    else:
        new_width, new_height = int(rows * width / height), rows
    if new_width * new_height > MAX_RESIZED_PIXELS:
        raise ModelError(f"{width} x {height} pixels are too elongated to resize")
    image = image.resize((new_width, new_height), INTERPOLATIONS[preprocessing.interpolation])
    left, top = (new_width - crop_width) // 2, (new_height - crop_height) // 2
    return image.crop((left, top, left + crop_width, top + crop_height))


_LIMIT = threading.Lock()


@contextlib.contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Pillow's own limit is one for the whole process; here each call has its own, checked once the size is known."""
    with _LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _per_channel(name: str, values: object, channels: int) -> tuple[float, ...]:
    values = tuple(values) if isinstance(values, (tuple, list)) else (values,)
    if not all(map(_is_number, values)) or len(values) not in (1, channels):
        wanted = "1 number" if channels == 1 else f"1 or {channels} numbers"
        raise ModelError(f"invalid {name} {list(values)}: expected {wanted}")
    return values * channels if len(values) == 1 else values


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and math.isfinite(value)
