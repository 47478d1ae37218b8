"""The CIFAR-10 reader, on archives made in the exact format of the official one."""

import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from caffe2_common.errors import ModelError
from mobile_cv.search import cifar10
from mobile_cv.search.cifar10 import download_cifar10, read_cifar10
from mobile_cv.search.images import open_data

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Python2Pickler(pickle._Pickler):
    """Protocol 2 as cPickle of Python 2.7 wrote it: byte strings as such, numpy's old module names."""

    def save_string(self, value):
        if len(value) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(value)]) + value)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    def save_array(self, array):
        self.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n")
        self.write(b"K\x00\x85U\x01b\x87R(K\x01")  # (0,), 'b'; then the state: version,
        self.save(array.shape)
        self.write(b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        self.write(b"\x89")  # not in Fortran's order
        self.save_string(array.tobytes())
        self.write(b"tb")

    dispatch = pickle._Pickler.dispatch | {bytes: save_string, np.ndarray: save_array}


def dumps(value) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


def make_batches(count=20):
    rng = np.random.default_rng(0)
    batches = {}
    for number, name in enumerate([*cifar10.TRAINING, *cifar10.TEST]):
        label = f"training batch {number + 1} of 5" if number < 5 else "testing batch 1 of 1"
        batches[name] = {
            b"batch_label": label.encode(),
            b"labels": rng.integers(0, 10, count).tolist(),
            b"data": rng.integers(0, 256, (count, 3072), np.uint8),
            b"filenames": [f"image_s_{i:06}.png".encode() for i in range(count)],
        }
    batches["batches.meta"] = {
        b"num_cases_per_batch": count,
        b"label_names": [name.encode() for name in NAMES],
        b"num_vis": 3072,
    }
    return batches


def write_archive(path, contents: dict[str, bytes], folder="cifar-10-batches-py"):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {"readme.html": b"<html>", **contents}.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def batches():
    return make_batches()


@pytest.fixture
def archive(tmp_path, batches):
    return write_archive(tmp_path / cifar10.ARCHIVE, {name: dumps(b) for name, b in batches.items()})


def test_the_pickles_are_those_of_python_2(batches):
    content = dumps(batches["data_batch_1"])
    assert content.startswith(b"\x80\x02}q\x00(U\x0bbatch_labelq\x01U\x15training batch 1 of 5q\x02U\x06labels")
    # and the real unpickler, with numpy's own classes, agrees with ours about them
    loaded = pickle.loads(content, encoding="bytes")
    np.testing.assert_array_equal(loaded[b"data"], batches["data_batch_1"][b"data"])


def test_images_and_labels(archive, batches):
    (images, labels), (test_images, test_labels), names = read_cifar10(archive, verify=False)
    assert images.shape == (100, 32, 32, 3) and images.dtype == np.uint8
    assert labels.tolist() == [label for name in cifar10.TRAINING for label in batches[name][b"labels"]]
    assert test_labels.tolist() == batches["test_batch"][b"labels"]
    assert names == NAMES
    # pixel (row 3, column 5) of image 21: 1024 reds, 1024 greens, 1024 blues, row by row
    row = batches["data_batch_2"][b"data"][1]
    assert images[21, 3, 5].tolist() == [row[3 * 32 + 5], row[1024 + 3 * 32 + 5], row[2048 + 3 * 32 + 5]]
    assert test_images.shape == (20, 32, 32, 3)


def test_the_unpacked_folder_gives_the_same(archive, tmp_path):
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    ours = read_cifar10(archive, verify=False)
    for place in (tmp_path / "unpacked", tmp_path / "unpacked/cifar-10-batches-py"):
        theirs = read_cifar10(place, verify=False)
        np.testing.assert_array_equal(theirs[0][0], ours[0][0])
        np.testing.assert_array_equal(theirs[1][1], ours[1][1])


def test_files_that_are_not_the_published_ones_are_refused(archive):
    with pytest.raises(ModelError, match="data_batch_1 is not the published file"):
        read_cifar10(archive)


def test_published_digests_are_compared(archive, batches, monkeypatch):
    for group in (cifar10.TRAINING, cifar10.TEST, cifar10.META):
        for name in group:
            digest = hashlib.md5(dumps(batches[name]), usedforsecurity=False).hexdigest()
            monkeypatch.setitem(group, name, digest)
    data = open_data("cifar10", archive.parent)
    assert len(data.train) == 100 and len(data.test) == 20 and data.classes == tuple(NAMES)


class Bomb:
    def __reduce__(self):
        return (eval, ("open('bomb', 'w').write('boom')",))


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda b: pickle.dumps({"data": Bomb()}, 2), "asks for (builtins|__builtin__).eval"),
        (lambda b: pickle.dumps({"data": np.zeros(3, object)}, 2), "data_batch_3"),
        (lambda b: dumps(b)[:1000], "not a pickle"),
        (lambda b: dumps([1, 2]), "no dictionary"),
        (lambda b: dumps(b | {b"labels": [10] * 20}), "labels"),
        (lambda b: dumps(b | {b"labels": [1] * 19}), "data are no 19 x 3072"),
        (lambda b: dumps(b | {b"data": np.zeros((20, 3071), np.uint8)}), "data are no 20 x 3072"),
        (lambda b: dumps(b | {b"data": [1, 2]}), "data are no"),
    ],
)
def test_a_hostile_or_damaged_pickle_is_one_line(tmp_path, batches, damage, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = {name: dumps(batch) for name, batch in batches.items()}
    contents["data_batch_3"] = damage(batches["data_batch_3"])
    path = write_archive(tmp_path / "a.tar.gz", contents)
    with pytest.raises(ModelError, match=message) as error:
        read_cifar10(path, verify=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "bomb").exists()


def test_no_call_in_a_pickle_is_obeyed(tmp_path, batches):
    """_reconstruct asked for an array of 10^15 elements makes nothing: only the state that follows counts."""
    contents = {name: dumps(batch) for name, batch in batches.items()}
    huge = b"\x8a\x07" + (10**15).to_bytes(7, "little")
    contents["test_batch"] = contents["test_batch"].replace(b"K\x00\x85U\x01b", huge + b"\x85U\x01b")
    assert huge in contents["test_batch"]
    _, (images, _), _ = read_cifar10(write_archive(tmp_path / "a.tar.gz", contents), verify=False)
    assert len(images) == 20


def test_damaged_archives(tmp_path, archive):
    short = tmp_path / "short.tar.gz"
    short.write_bytes(archive.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="damaged archive"):
        read_cifar10(short, verify=False)
    text = tmp_path / "text.tar.gz"
    text.write_text("hello")
    with pytest.raises(ModelError, match="damaged archive"):
        read_cifar10(text, verify=False)
    other = write_archive(tmp_path / "other.tar.gz", {"data_batch_1": b""}, folder="else")
    with pytest.raises(ModelError, match="holds no cifar-10-batches-py/data_batch_1"):
        read_cifar10(other, verify=False)
    with pytest.raises(ModelError, match="neither"):
        read_cifar10(tmp_path / "nowhere")


def test_download_is_checked_before_it_takes_its_name(tmp_path, archive):
    url, digest = archive.as_uri(), hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    folder = tmp_path / "cache"
    with pytest.raises(ModelError, match="not the published file"):
        download_cifar10(folder, url)
    assert list(folder.iterdir()) == []
    path = download_cifar10(folder, url, digest)
    assert path.read_bytes() == archive.read_bytes()
    assert download_cifar10(folder, "file:///nowhere", digest) == path  # it is there
    with pytest.raises(ModelError, match=r"cannot be downloaded .* put it into"):
        download_cifar10(tmp_path / "b", "file:///nowhere")
