"""One run: the same result however it is spread over processes, threads and time; odd images; odd nets."""

import dataclasses
import os
import signal
import tarfile
import threading

import numpy as np
import pytest
from image_cases import colour_net, encode, noise

from caffe2_common.errors import ModelError
from caffe2_common.images import pixel_table, read_crop
from caffe2_common.preprocessing import Preprocessing
from validate import loader
from validate.classifier import Classifier, load_file
from validate.dataset import open_dataset, select
from validate.outcomes import Outcomes
from validate.runner import Resources, Run

PREPROCESSING = Preprocessing(size=16, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


def run(classifier, dataset, outcomes=None, skip_broken=False, workers=2, threads=2, batch_size=3) -> Outcomes:
    indices = select(dataset)
    outcomes = outcomes or Outcomes(len(indices))
    resources = Resources(workers, threads, classifier.fixed_batch or batch_size)
    Run(classifier, dataset, indices, PREPROCESSING, outcomes, resources, skip_broken)()
    return outcomes


def test_every_image_is_judged_by_its_own_label(coloured, net):
    outcomes = run(load_file(net), open_dataset(coloured))
    assert outcomes.rank.tolist() == [0] * 11 + [2]  # red/3.jpg is blue, and green comes before red
    assert outcomes.top[-1, 0] == 0


@pytest.mark.parametrize(("workers", "threads", "batch_size"), [(1, 1, 1), (3, 1, 5), (1, 4, 2), (2, 2, 100)])
def test_the_result_does_not_depend_on_how_the_work_is_spread(coloured, net, workers, threads, batch_size):
    dataset = open_dataset(coloured)
    one = run(load_file(net), dataset)
    other = run(load_file(net), dataset, None, False, workers, threads, batch_size)
    assert np.array_equal(one.top, other.top)
    assert one.totals() == other.totals()


def test_workers_are_started_anew_where_fork_is_not_safe(coloured, net, tmp_path, monkeypatch):
    """As on macOS and Windows; from an archive too, whose reader goes to the workers."""
    with tarfile.open(tmp_path / "images.tar", "w") as packed:
        packed.add(coloured, "images")
    expected = run(load_file(net), open_dataset(coloured))
    monkeypatch.setattr(loader, "START_METHOD", "spawn")
    (coloured / "green" / "2.jpg").write_bytes(b"no image")
    assert np.array_equal(run(load_file(net), open_dataset(tmp_path / "images.tar")).top, expected.top)
    outcomes = run(load_file(net), open_dataset(coloured), skip_broken=True)
    assert outcomes.totals().top1 == expected.totals().top1 - 1


@pytest.mark.parametrize("batch", [1, 5])
def test_a_fixed_batch_of_the_net_is_kept(coloured, tmp_path, batch):
    classifier = load_file(colour_net(tmp_path / "fixed.onnx", batch=batch))
    assert classifier.fixed_batch == batch
    assert run(classifier, open_dataset(coloured)).totals().top1 == 11


def test_broken_images_end_the_run_or_are_named_and_left_out(coloured, net):
    (coloured / "green" / "2.jpg").write_bytes(b"no image")
    (coloured / "blue" / "0.jpg").write_bytes(encode(noise(60, 60))[:500])
    dataset = open_dataset(coloured)
    with pytest.raises(ModelError, match=r"(green/2|blue/0)\.jpg: .*--skip-broken"):
        run(load_file(net), dataset)
    outcomes = run(load_file(net), dataset, skip_broken=True)
    assert sorted(outcomes.broken) == [0, 6]
    assert outcomes.totals() == dataclasses.replace(outcomes.totals(), n=10, top1=9, broken=2)


def test_a_run_goes_on_where_it_stopped(coloured, net):
    dataset = open_dataset(coloured)
    whole = run(load_file(net), dataset)
    half = Outcomes(12)
    for name in ("rank", "top", "loss"):
        getattr(half, name)[3:9] = getattr(whole, name)[3:9]  # two batches of three are done
    seen = []
    classifier = load_file(net)

    def open_session():
        infer = classifier.open_session()
        return lambda x: (seen.append(len(x)), infer(x))[1]

    run(dataclasses.replace(classifier, open_session=open_session), dataset, half)
    assert sum(seen) == 6
    assert half.totals() == whole.totals()


def test_what_a_net_sees_is_the_normalized_crop(coloured):
    dataset = open_dataset(coloured)
    seen = {}

    def infer(x):
        seen[threading.get_ident(), len(seen)] = x.copy()
        return np.zeros((len(x), 3), np.float32)

    run(Classifier("probe", "onnx", "none", lambda: infer, 0), dataset, workers=1, threads=1, batch_size=12)
    (batch,) = seen.values()
    table = pixel_table(PREPROCESSING)
    for k in range(12):
        crop = read_crop(dataset.read(k), PREPROCESSING)
        assert np.array_equal(batch[k], np.stack([table[c][crop[:, :, c]] for c in range(3)]))


def test_too_few_outputs_and_nan_are_told_from_accuracy(coloured, tmp_path):
    dataset = open_dataset(coloured)
    with pytest.raises(ModelError, match="has 2 outputs"):
        run(load_file(colour_net(tmp_path / "two.onnx", rows=((1, 0, 0), (0, 1, 0)))), dataset)
    nan = colour_net(tmp_path / "nan.onnx", rows=((1, 0, 0), (0, float("nan"), 0), (0, 0, 1)))
    with pytest.raises(ModelError, match="no numbers for"):
        run(load_file(nan), dataset)


def test_an_error_of_the_net_reaches_the_caller(coloured):
    def fail(x):
        raise ModelError("the net does not run")

    with pytest.raises(ModelError, match="does not run"):
        run(Classifier("probe", "onnx", "none", lambda: fail, 0), open_dataset(coloured))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_killed_decoder_is_an_error_not_a_wait(coloured, monkeypatch, start_method):
    monkeypatch.setattr(loader, "START_METHOD", start_method)
    dataset = open_dataset(coloured)
    batches = np.split(np.arange(12), 12)
    with loader.Loader(dataset, np.arange(12), batches, PREPROCESSING, 3, 1, workers=1, extra_slots=1) as pool:
        os.kill(pool._workers[0].process.pid, signal.SIGKILL)
        with pytest.raises(ModelError, match="decoding process"):
            while pool.next() is not None:
                pass


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be loaded"), (b"no protobuf", "cannot be loaded")],
)
def test_a_file_that_is_no_onnx_is_refused(tmp_path, content, message):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_file(tmp_path / "x.onnx")
