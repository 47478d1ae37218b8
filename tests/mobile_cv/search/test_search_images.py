"""Data: the digits, folders, augmentation, batches."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from mobile_cv.search import open_data
from mobile_cv.search.images import (
    Augmented,
    Plain,
    batches_of,
    crop_padded,
    crop_padded_and_flip,
    load_batches,
    resized_crop_and_flip,
    split,
)
from validate.calibration import open_images


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_digits():
    data = open_data("digits")
    assert len(data.train) == 1198 and len(data.test) == 599
    assert data.train.read(0).shape == (32, 32, 3) and data.train.read(0).dtype == np.uint8
    pixels = data.train.images / 255
    np.testing.assert_allclose(pixels.mean(), data.mean[0], atol=0.01)
    np.testing.assert_allclose(pixels.std(), data.std[0], atol=0.03)
    assert set(data.train.labels) == set(data.test.labels) == set(range(10))


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(image(40, 60, index)).save(tmp_path / part / name / f"{index}.png")
    return tmp_path


def test_a_folder_of_classes(folder):
    data = open_data(str(folder))
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1] and data.test.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(data.train.read(4), image(40, 60, 1))
    batch, labels = next(load_batches(Augmented(data.train, data.augment, 24, 0), [[(0, 1), (0, 5)]]))
    assert batch.shape == (2, 24, 24, 3) and batch.dtype == torch.uint8 and labels.tolist() == [0, 1]


def test_workers_change_nothing(folder):
    data = open_data(str(folder))
    dataset = Augmented(data.train, data.augment, 24, 7)
    keys = batches_of(range(6), 2, epoch=3, seed=7)
    for ours, theirs in zip(load_batches(dataset, keys), load_batches(dataset, keys, 2), strict=True):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_wrong_folders_are_one_line(folder, tmp_path):
    (folder / "val/dog/0.png").write_bytes(b"no image")
    with pytest.raises(ModelError, match=r"0\.png: cannot be decoded"):
        open_data(str(folder)).test.read(2)
    (folder / "val/eel").mkdir()
    with pytest.raises(ModelError, match="same class folders: eel"):
        open_data(str(folder))
    (folder / "train/eel").mkdir()
    with pytest.raises(ModelError, match="eel: holds no images"):
        open_data(str(folder))
    with pytest.raises(ModelError, match="no such data"):
        open_data("digitz")
    with pytest.raises(ModelError, match="--data-dir"):
        open_data("cifar10")


@pytest.mark.parametrize("augment", [crop_padded, crop_padded_and_flip])
def test_padded_crops(augment):
    """Every crop is a window of the padded image; all 81 of them, mirrored or not, turn up."""
    original = image(32, 32)
    padded = np.pad(original, ((4, 4), (4, 4), (0, 0)))
    windows = {}
    for top in range(9):
        for left in range(9):
            window = padded[top : top + 32, left : left + 32]
            windows[window.tobytes()] = (top, left, False)
            if augment is crop_padded_and_flip:
                windows[window[:, ::-1].tobytes()] = (top, left, True)
    seen = {windows[augment(original, 32, random.Random(i)).tobytes()] for i in range(2500)}
    assert len(seen) == len(windows)


def test_resized_crops():
    flat = np.full((50, 90, 3), 77, np.uint8)
    gradient = np.broadcast_to(np.arange(90, dtype=np.uint8)[None, :, None], (50, 90, 3))
    directions, spans = set(), []
    for seed in range(200):
        assert (resized_crop_and_flip(flat, 24, random.Random(seed)) == 77).all()
        row = resized_crop_and_flip(gradient, 24, random.Random(seed))[12, :, 0].astype(int)
        directions.add(bool(row[-1] > row[0]))
        spans.append(abs(row[-1] - row[0]) / 23 * 24)
    assert directions == {True, False}
    # widths of a crop: sqrt(area x aspect), at most all of the image
    assert 0.8 * np.sqrt(0.08 * 50 * 90 * 3 / 4) < min(spans) < 30 and 60 < max(spans) <= 91


@pytest.mark.parametrize(("interpolation", "tf_preprocessing"), [("bicubic", False), ("bilinear", True)])
def test_what_is_evaluated_on_is_validations_input_to_the_bit(tmp_path, interpolation, tf_preprocessing):
    for part in ("train", "val"):
        for label, name in enumerate(("a", "b")):
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(image(37 + label, 61)).save(tmp_path / part / name / "0.jpg")
    preprocessing = Preprocessing(size=24, interpolation=interpolation, tf_preprocessing=tf_preprocessing)
    plain = Plain(open_data(str(tmp_path)).test, preprocessing)
    for index, validated in enumerate(open_images(tmp_path / "val", None, preprocessing, 3)):
        np.testing.assert_array_equal(plain[index][0], validated)


def test_images_of_the_nets_size_are_evaluated_on_as_they_are():
    data = open_data("digits")
    plain = Plain(data.test, Preprocessing(size=32, crop_pct=1.0, mean=(0.0,), std=(1.0,)))
    np.testing.assert_array_equal(np.rint(plain[5][0] * 255), data.test.images[5].transpose(2, 0, 1))


def test_split_and_batches():
    first, second = split(100, 0.8, seed=1)
    assert len(first) == 80 and sorted(first + second) == list(range(100))
    assert split(100, 0.8, seed=1) == (first, second) != split(100, 0.8, seed=2)
    epochs = [batches_of(first, 16, epoch, seed=1) for epoch in range(2)]
    assert [len(batch) for batch in epochs[0]] == [16] * 5
    assert sorted(key[1] for batch in epochs[0] for key in batch) == first
    assert [key[1] for batch in epochs[0] for key in batch] != [k[1] for batch in epochs[1] for k in batch]
    assert len(batches_of(first, 30, 0, 1)) == 2


def test_augmentation_depends_on_seed_epoch_and_index_alone():
    data = open_data("digits")

    def seen(seed, epoch, index):
        return Augmented(data.train, data.augment, 32, seed)[epoch, index][0].tobytes()

    assert seen(0, 3, 5) == seen(0, 3, 5)
    assert len({seen(seed, epoch, 5) for seed in range(4) for epoch in range(4)}) > 8
