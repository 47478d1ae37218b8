"""Preprocessing: equal to recorded crops, to Pillow's own steps, and to torchvision's arithmetic."""

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_cases import encode, noise
from PIL import Image

from caffe2_common.errors import ModelError
from caffe2_common.images import INTERPOLATIONS, complete, describe, normalize, pixel_table, read_crop
from caffe2_common.preprocessing import Preprocessing
from validate.labels import synsets

SMALL = Preprocessing(size=24, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize(("model", "crop_pct"), [("0.25_128", 0.875), ("0.5_160", 0.874)])
def test_equals_the_recorded_crops_bit_for_bit(shared, model, crop_pct):
    # The 160-pixel crops were made with the shorter side at 183, which floor(160 / 0.874) is.
    recorded = np.load(shared / "models" / f"mobilenet_v1_{model}_quant" / "expected.npz")
    preprocessing = Preprocessing(size=recorded["crops"].shape[1], interpolation="bilinear", crop_pct=crop_pct)
    for crop, label in zip(recorded["crops"], recorded["labels"], strict=True):
        (path,) = (shared / "data" / "imagenet-sample" / synsets()[label]).iterdir()
        assert np.array_equal(read_crop(path.read_bytes(), preprocessing), crop)


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.integers(1, 40),
    crop_pct=st.floats(0.3, 1),
    interpolation=st.sampled_from(sorted(INTERPOLATIONS)),
)
def test_any_shape_is_cropped_to_the_centre_of_the_resized_image(width, height, size, crop_pct, interpolation):
    pixels = noise(width, height)
    preprocessing = Preprocessing(size=size, crop_pct=crop_pct, interpolation=interpolation)
    crop = read_crop(encode(pixels, "PNG"), preprocessing)
    assert crop.shape == (size, size, 3)
    short = math.floor(size / crop_pct)
    ratio = short / min(width, height)
    new = (
        short if width <= height else int(short * width / height),
        short if height <= width else int(short * height / width),
    )
    resized = np.asarray(Image.fromarray(pixels).resize(new, INTERPOLATIONS[interpolation]))
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    assert np.array_equal(crop, resized[top : top + size, left : left + size])
    assert abs(max(new) - max(width, height) * ratio) < 1


def test_gray_and_cmyk_and_palette_and_alpha_become_rgb():
    gray = noise(30, 40, channels=1)
    as_rgb = read_crop(encode(np.stack([gray] * 3, axis=-1), "PNG"), SMALL)
    assert np.array_equal(read_crop(encode(gray, "PNG"), SMALL), as_rgb)
    colour = noise(40, 30)
    right = read_crop(encode(colour, "PNG"), SMALL)
    assert np.array_equal(read_crop(encode(colour, "PNG", mode="RGBA"), SMALL), right)
    cmyk = read_crop(encode(colour, "JPEG", mode="CMYK", quality=98), SMALL)
    assert np.abs(cmyk.astype(int) - right).mean() < 4  # JPEG's own loss
    palette = read_crop(encode(colour // 64 * 64, "PNG", mode="P"), SMALL)
    assert np.abs(palette.astype(int) - right).mean() < 40  # 64 grey levels were cut off, 31.5 on average


def test_content_decides_not_the_name_and_exif_orientation_is_left_alone():
    pixels = noise(48, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    assert np.array_equal(read_crop(encode(pixels, "JPEG", exif=exif), SMALL), read_crop(encode(pixels, "JPEG"), SMALL))
    assert read_crop(encode(pixels, "PNG"), SMALL).shape == (24, 24, 3)


@pytest.mark.parametrize("content", [b"", b"no image", encode(noise(60, 60))[:400], encode(noise(9, 9), "PNG")[:-30]])
def test_broken_content_is_refused(content):
    with pytest.raises((OSError, ValueError, SyntaxError)):
        read_crop(content, SMALL)


def test_an_elongated_image_takes_no_memory_without_bound():
    content = io.BytesIO()
    Image.new("RGB", (60000, 1)).save(content, "PNG")
    with pytest.raises(ModelError, match="elongated"):
        read_crop(content.getvalue(), Preprocessing())


def test_more_pixels_than_the_limit_are_refused_and_a_higher_limit_takes_them():
    content = encode(np.zeros((200, 300), np.uint8), "PNG")
    with pytest.raises(ModelError, match=r"300 x 200 pixels exceed 59,999"):
        read_crop(content, SMALL, max_pixels=59_999)
    assert read_crop(content, SMALL, max_pixels=60_000).shape == (24, 24, 3)
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's own limit stands for everyone else


def test_bgr_turns_the_channels_and_one_channel_is_gray():
    content = encode(noise(40, 30), "PNG")
    assert np.array_equal(read_crop(content, SMALL.replace(channel_order="BGR"))[:, :, ::-1], read_crop(content, SMALL))
    assert read_crop(content, SMALL, channels=1).shape == (24, 24, 1)


def test_normalization_is_torchvisions_in_float32_bit_for_bit():
    preprocessing = Preprocessing()
    crop = noise(8, 8).copy()
    out = np.empty((3, 8, 8), np.float32)
    normalize(crop, pixel_table(preprocessing), out)
    steps = crop.transpose(2, 0, 1).astype(np.float32)
    steps /= np.float32(255)
    steps -= np.array(preprocessing.mean, np.float32)[:, None, None]
    steps /= np.array(preprocessing.std, np.float32)[:, None, None]
    assert np.array_equal(out, steps)


def test_mean_and_std_in_pixel_units_are_the_same_input():
    scaled = Preprocessing(mean=(127.5,) * 3, std=(127.5,) * 3, divisor=1.0)
    assert np.abs(pixel_table(scaled) - pixel_table(SMALL)).max() < 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size 0"),
        ({"size": 10**6}, "size"),
        ({"interpolation": "cubic"}, "bilinear"),
        ({"interpolation": "lanczos", "tf_preprocessing": True}, "TensorFlow"),
        ({"crop_pct": 1.5}, "crop_pct"),
        ({"crop_pct": "x"}, "crop_pct"),
        ({"mean": (0.1, 0.2)}, "mean"),
        ({"std": (0.0,)}, "other than 0"),
        ({"std": (float("nan"),)}, "std"),
        ({"divisor": 0}, "divisor"),
        ({"channel_order": "GBR"}, "GBR"),
    ],
)
def test_impossible_preprocessing_is_refused_by_name(changes, message):
    with pytest.raises(ModelError, match=message):
        complete(Preprocessing().replace(**changes))


def test_one_mean_serves_all_channels_and_the_description_says_all():
    text = describe(complete(Preprocessing(size=160, mean=(0.5,), std=(0.25,), channel_order="BGR")))
    assert text == "160 px, bicubic, crop 0.875, BGR, (pixel / 255 - [0.5 0.5 0.5]) / [0.25 0.25 0.25]"
