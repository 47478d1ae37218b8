"""Pieces on a Ray cluster: two nodes on this machine, one of which is lost in the middle."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from image_cases import colour_net, encode, noise

from validate.cluster import _pieces

ONNX = "scripts/onnx_validate.py"
FLAGS = ("--img-size", 16, "--mean", 0.5, "--std", 0.5, "--threads", 1, "-b", 2)
TIMING = ("seconds", "images_per_second", "images_run")


@pytest.fixture(scope="module")
def cluster():
    """A head with one core, and what adds nodes to it."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra `cluster`)")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # on a busy machine the usual 15 gets next to nothing
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield cluster
        cluster.shutdown()


def without_time(path) -> dict:
    return {name: value for name, value in json.loads(path.read_text()).items() if name not in TIMING}


def outputs(folder, name) -> tuple:
    return ("--results-file", folder / f"{name}.json", "--predictions", folder / f"{name}.csv")


@pytest.fixture
def slow_images(tmp_path):
    """Twenty images that take a while to decode."""
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        content = encode(noise(1600, 1600, ord(name)), "PNG", compress_level=1)
        for k in range(10):
            (tmp_path / "images" / name / f"{k}.png").write_bytes(content)
    return tmp_path / "images"


def test_a_node_lost_in_the_middle_costs_only_its_pieces(cluster, root, command, slow_images, tmp_path):
    net = colour_net(tmp_path / "n.onnx", rows=((1, 0, 0), (0, 1, 0)))
    words = (slow_images, "--onnx-input", net, *FLAGS)
    assert command(ONNX, *words, "-j", 1, *outputs(tmp_path, "one")).returncode == 0
    lost = cluster.add_node(num_cpus=1)
    line = [sys.executable, root / ONNX, *words, "--ray", cluster.address, *outputs(tmp_path, "two")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([str(word) for word in line], **pipes) as process:
        state, deadline = tmp_path / "two.json.state", time.monotonic() + 600
        while not state.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        running = process.poll() is None
        cluster.remove_node(lost, allow_graceful=False)
        _, said = process.communicate(timeout=600)
    assert running, "the run was over before the node was lost"
    assert (process.returncode, said) == (0, "")
    assert without_time(tmp_path / "one.json") == without_time(tmp_path / "two.json")
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()


def test_an_error_is_one_line_and_what_was_done_is_not_done_again(cluster, command, coloured, net, tmp_path):
    words = (ONNX, coloured, "--onnx-input", net, *FLAGS, "--ray", cluster.address, *outputs(tmp_path, "two"))
    good = (coloured / "red" / "3.jpg").read_bytes()
    (coloured / "red" / "3.jpg").write_bytes(b"broken")
    done = command(*words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "red/3.jpg" in done.stderr
    (coloured / "red" / "3.jpg").write_bytes(good)
    done = command(*words, "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert "resumed: 10 of 12 images were done" in done.stdout
    assert json.loads((tmp_path / "two.json").read_text())["n"] == 12


def test_more_cores_than_any_node_has_are_one_line(cluster, command, coloured, net):
    done = command(ONNX, coloured, "--onnx-input", net, *FLAGS, "-j", 64, "--ray", cluster.address)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "-j 64: no node of the Ray cluster has so many cores" in done.stderr


def test_a_cluster_that_is_not_there_is_one_line(command, coloured, net):
    pytest.importorskip("ray", reason="Ray is not installed (the extra `cluster`)")
    done = command(ONNX, coloured, "--onnx-input", net, *FLAGS, "--ray", "127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "no Ray cluster answers at 127.0.0.1:1" in done.stderr


def test_pieces_are_whole_batches_several_to_a_slot():
    pending = np.delete(np.arange(1003), np.arange(40, 80))
    pieces = _pieces(pending, 8, slots=2)
    assert np.array_equal(np.concatenate(pieces), pending)
    assert len(pieces) >= 16 and all(len(piece) <= 256 for piece in pieces)
    assert all(piece[0] % 8 == 0 and (len(piece) % 8 == 0 or piece[-1] == 1002) for piece in pieces)
