"""TensorFlow 1's resize: against the kernels' formulas written out pixel by pixel."""

import math

import numpy as np
import pytest
from image_cases import noise

from caffe2_common.tensorflow1 import crop_and_resize, resize_bicubic, resize_bilinear

F = np.float32


def cubic(x: float, a: float = -0.75) -> float:
    """The cubic convolution kernel at distance x (Keys 1981)."""
    x = abs(x)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0


def one_pixel_bicubic(pixels: np.ndarray, size: int, y: int, x: int) -> float:
    """In double precision, with the weights at the tabulated 1/1024 of a pixel."""
    total = 0.0
    height, width = pixels.shape
    sy, sx = y * (F(height) / F(size)), x * (F(width) / F(size))
    fy, fx = (np.rint((s - math.floor(s)) * 1024) / 1024 for s in (sy, sx))
    for j in range(-1, 3):
        for i in range(-1, 3):
            row = min(max(math.floor(sy) + j, 0), height - 1)
            column = min(max(math.floor(sx) + i, 0), width - 1)
            total += cubic(fy - j) * cubic(fx - i) * float(pixels[row, column])
    return total


@pytest.mark.parametrize(("height", "width", "size"), [(7, 7, 7), (20, 20, 9), (5, 5, 16), (33, 21, 12)])
def test_bicubic_is_the_legacy_kernel(height, width, size):
    pixels = noise(width, height, channels=1)
    ours = resize_bicubic(pixels, size)
    assert ours.dtype == np.float32
    for y in range(size):
        for x in range(size):
            assert ours[y, x] == pytest.approx(one_pixel_bicubic(pixels, size, y, x), abs=2e-4)  # float32 sums


@pytest.mark.parametrize("size", [3, 8, 13, 20])
def test_bilinear_interpolates_between_corner_aligned_pixels(size):
    pixels = noise(11, 17)
    ours = resize_bilinear(pixels, size)
    for y in range(size):
        for x in range(size):
            sy, sx = y * 17 / size, x * 11 / size
            y0, x0 = math.floor(sy), math.floor(sx)
            y1, x1 = min(y0 + 1, 16), min(x0 + 1, 10)
            top = pixels[y0, x0] * (1 - (sx - x0)) + pixels[y0, x1] * (sx - x0)
            bottom = pixels[y1, x0] * (1 - (sx - x0)) + pixels[y1, x1] * (sx - x0)
            assert ours[y, x] == pytest.approx(top * (1 - (sy - y0)) + bottom * (sy - y0), abs=1e-3)


# What TensorFlow 2.21's kernels gave (tf.raw_ops.ResizeBilinear and ResizeBicubic, align_corners and
# half_pixel_centers False) for PATTERN: the upper left 2 x 4 pixels and the sum of all.
ROWS, COLUMNS = np.mgrid[:13, :11]
PATTERN = ((ROWS * 37 + COLUMNS * 91 + (ROWS * COLUMNS) % 7 * 19) % 256).astype(np.uint8)
RECORDED = [
    (resize_bilinear, 4, [0.0, 58.25, 116.5, 174.75, 120.25, 128.25, 165.75, 123.875], 1841.6875),
    (
        resize_bilinear, 17,
        [0.0, 58.882354736328125, 117.76470947265625, 176.64706420898438,
         28.294118881225586, 96.5778579711914, 107.28373718261719, 48.89618682861328],
        36010.85513496399,
    ),
    (
        resize_bicubic, 4,
        [0.0, 47.984375, 116.5, 185.015625,
         121.984375, 137.40975952148438, 179.8505859375, 118.94122314453125],
        1836.2984313964844,
    ),
    (
        resize_bicubic, 17,
        [0.0, 50.36399459838867, 133.35374450683594, 184.42254638671875,
         25.35448455810547, 105.29692840576172, 111.86091613769531, 34.39915466308594],
        36152.158081531525,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("resize", "size", "corner", "total"), RECORDED)
def test_equals_tensorflow_to_the_last_bit(resize, size, corner, total):
    ours = resize(PATTERN, size)
    assert ours[:2, :4].ravel().tolist() == corner
    assert ours.astype(np.float64).sum() == total


def test_without_antialiasing_half_size_takes_every_second_pixel():
    pixels = noise(20, 20)
    assert np.array_equal(resize_bilinear(pixels, 10), pixels[::2, ::2].astype(np.float32))
    assert np.array_equal(resize_bicubic(pixels, 10), pixels[::2, ::2].astype(np.float32))


def test_the_crop_is_size_over_size_plus_32_of_the_shorter_side():
    # 224 / 256 of 400 is 350; the odd margin of 51 + 50 is larger above, as (height - side + 1) // 2 says.
    pixels = np.zeros((451, 400, 3), np.uint8)
    pixels[51, 25] = 255  # the crop's first pixel
    assert crop_and_resize(pixels, 224, "bilinear")[0, 0].tolist() == [255] * 3
    assert crop_and_resize(pixels, 224, "bicubic")[0, 0].tolist() == [255] * 3
    assert crop_and_resize(pixels, 224, "bicubic").shape == (224, 224, 3)


def test_overshoot_of_the_cubic_is_clipped_to_bytes():
    pixels = np.zeros((40, 40), np.uint8)
    pixels[:, 20:] = 255
    result = crop_and_resize(pixels, 100, "bicubic")
    assert result.dtype == np.uint8
    assert result.min() == 0 and result.max() == 255
