"""Inputs from .npz files, named as the net's."""

import numpy as np
import pytest

from caffe2_common.errors import ModelError
from validate.examples import holds_examples, open_examples

DTYPES = {"image": np.dtype(np.float32), "ids": np.dtype(np.int64)}


def save(path, count, first=0, **others):
    image = np.arange(first, first + count, dtype=np.float64)[:, None, None] * np.ones((1, 2, 3))
    arrays = {"image": image, "ids": np.arange(first, first + count, dtype=np.int32)[:, None]} | others
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def test_examples_of_a_folder_in_order(tmp_path):
    save(tmp_path / "a.npz", 3)
    save(tmp_path / "b.npz", 2, first=3, more=np.zeros(1))
    examples = open_examples(tmp_path, DTYPES, None)
    assert len(examples) == 5 and examples.shapes == {"image": (1, 2, 3), "ids": (1, 1)}
    for _ in range(2):  # the same every time
        read = list(examples)
        assert [example["ids"].item() for example in read] == [0, 1, 2, 3, 4]
        assert [example["image"][1, 2] for example in read] == [0, 1, 2, 3, 4]
    assert {name: array.dtype for name, array in read[0].items()} == DTYPES


def test_evenly_spaced(tmp_path):
    save(tmp_path / "a.npz", 7)
    assert [example["ids"].item() for example in open_examples(tmp_path / "a.npz", DTYPES, 3)] == [0, 2, 4]
    assert holds_examples(tmp_path) and holds_examples(tmp_path / "a.npz")
    assert not holds_examples(tmp_path / "gone.npz") and not holds_examples(tmp_path.parent / "none")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": None}, "has no array for the input ids; it has image"),
        ({"ids": np.zeros((2, 1), np.int64)}, r"counts the examples, and differs: image \[3, 2, 3\], ids \[2, 1\]"),
        ({"ids": np.zeros((3, 1))}, "ids is of float64; the net takes int64"),
        ({"ids": np.array(["a", "b", "c"])}, "ids is of <U1"),
        ({"ids": np.array([None] * 3)}, "is no file of arrays"),  # would be unpickled
        ({"image": np.zeros((0, 2, 3)), "ids": np.zeros((0, 1), np.int64)}, "no examples"),
    ],
)
def test_bad_files_are_one_line(tmp_path, arrays, message):
    save(tmp_path / "a.npz", 3, **arrays)
    with pytest.raises(ModelError, match=message):
        open_examples(tmp_path / "a.npz", DTYPES, None)


def test_any_damage_is_one_line(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, image=np.random.default_rng(0).random((20, 2, 3)), ids=np.arange(20)[:, None])
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            open_examples(path, DTYPES, None)
        except ModelError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_what_is_no_archive(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ModelError, match=r"a\.npz: is no file of arrays"):
        open_examples(tmp_path, DTYPES, None)


def test_shapes_that_differ_between_files(tmp_path):
    save(tmp_path / "a.npz", 2)
    save(tmp_path / "b.npz", 2, image=np.zeros((2, 2, 4)))
    with pytest.raises(ModelError, match=r"b\.npz: image is of \[2, 4\], and of \[2, 3\] before"):
        open_examples(tmp_path, DTYPES, None)
