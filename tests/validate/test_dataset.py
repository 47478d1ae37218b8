"""Folders and archives, whole and in shards."""

import os
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_cases import encode, noise

from caffe2_common.errors import ModelError
from validate.dataset import Dataset, open_dataset, select


def archive(folder, path, inside=""):
    with tarfile.open(path, "w") as file:
        file.add(folder, arcname=inside or ".")
    return path


def test_a_folder_of_classes(coloured):
    (coloured / "red" / "notes.txt").write_text("no image")
    (coloured / "red" / "._0.jpg").write_bytes(b"what some systems leave behind")
    dataset = open_dataset(coloured)
    assert len(dataset) == 12
    assert dataset.names[0] == "blue/0.jpg"
    assert dataset.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert not dataset.is_imagenet
    assert dataset.read(5) == (coloured / "green" / "1.jpg").read_bytes()


def test_names_have_slashes_on_every_system(coloured, monkeypatch):
    (coloured / "red").rename(coloured / "green" / "red")
    names = open_dataset(coloured).names
    relpath = os.path.relpath
    monkeypatch.setattr(os.path, "relpath", lambda *paths: relpath(*paths).replace("/", "\\"))
    monkeypatch.setattr(os, "sep", "\\")
    assert open_dataset(coloured).names == names


@pytest.mark.parametrize("inside", ["", "images"])
def test_an_archive_is_read_in_place_like_the_folder(coloured, tmp_path, inside):
    folder, packed = open_dataset(coloured), open_dataset(archive(coloured, tmp_path / "a.tar", inside))
    assert packed.labels.tolist() == folder.labels.tolist()
    assert [packed.read(k) for k in range(12)] == [folder.read(k) for k in range(12)]


def test_imagenet_folders_flat_folders_and_flat_archives_have_the_same_labels(tmp_path):
    flat, deep = tmp_path / "flat", tmp_path / "deep"
    flat.mkdir()
    lines = []
    for number, (synset, label) in enumerate([("n01440764", 0), ("n15075141", 999)], start=1):
        (deep / synset).mkdir(parents=True)
        content = encode(noise(20, 20, number))
        (deep / synset / "x.JPEG").write_bytes(content)
        (flat / f"ILSVRC2012_val_{number:08}.JPEG").write_bytes(content)
        lines.append(f"ILSVRC2012_val_{number:08}.JPEG {label}\n")
    with pytest.raises(ModelError, match="--ground-truth"):
        open_dataset(flat)
    (tmp_path / "val.txt").write_text("".join(lines))
    packed = archive(flat, tmp_path / "val.tar")
    for path in (deep, flat, packed, archive(flat, tmp_path / "top.tar", "val")):
        dataset = open_dataset(path)
        assert dataset.labels.tolist() == [0, 999]
        assert dataset.is_imagenet


def test_a_label_map_orders_classes(coloured, tmp_path):
    (tmp_path / "map.txt").write_text("red 0\ngreen 1\nblue 2\n")
    assert open_dataset(coloured, label_map=tmp_path / "map.txt").labels.tolist() == [2] * 4 + [1] * 4 + [0] * 4
    (tmp_path / "map.txt").write_text("red 0\n")
    with pytest.raises(ModelError, match="blue"):
        open_dataset(coloured, label_map=tmp_path / "map.txt")


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no such"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(ModelError, match="holds no images"):
        open_dataset(tmp_path)
    (tmp_path / "x.tar").write_bytes(b"not an archive" * 100)
    with pytest.raises(ModelError, match=r"x\.tar"):
        open_dataset(tmp_path / "x.tar")


def test_an_archive_that_ends_early_says_so(coloured, tmp_path):
    path = archive(coloured, tmp_path / "a.tar")
    dataset = open_dataset(path)
    path.write_bytes(path.read_bytes()[: dataset.spans[-1][0] + 3])
    with pytest.raises(ModelError, match="ends within"):
        dataset.read(11)


@given(n=st.integers(1, 300), limit=st.integers(1, 400), count=st.integers(1, 7), batch=st.integers(1, 9))
def test_shards_are_disjoint_and_complete_and_keep_batches_whole(n, limit, count, batch):
    dataset = Dataset(None, [""] * n, np.zeros(n, np.int64), False)
    whole = select(dataset, limit, (0, 1), batch)
    assert len(whole) == min(n, limit) == len(set(whole.tolist()))
    batches = [tuple(whole[k : k + batch]) for k in range(0, len(whole), batch)]
    found = []
    for number in range(count):
        part = select(dataset, limit, (number, count), batch)
        found += [tuple(part[k : k + batch]) for k in range(0, len(part), batch)]
    assert sorted(found) == batches


def test_a_limit_spreads_over_all_classes(coloured):
    dataset = open_dataset(coloured)
    assert dataset.labels[select(dataset, 3)].tolist() == [0, 1, 2]
