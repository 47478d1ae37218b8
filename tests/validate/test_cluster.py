"""Shards on a Ray cluster: one machine, two workers."""

import json

import pytest

ONNX = "scripts/onnx_validate.py"
FLAGS = ("--img-size", 16, "--mean", 0.5, "--std", 0.5, "-j", 1, "--threads", 1, "-b", 2)


@pytest.fixture(scope="module")
def ray_address():
    pytest.importorskip("ray", reason="Ray is not installed (the extra `cluster`)")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


def test_a_cluster_of_two_gives_what_one_process_gives(ray_address, command, coloured, net, tmp_path):
    for name, flags in (("one", ()), ("two", ("--ray", ray_address))):
        outputs = ("--results-file", tmp_path / f"{name}.json", "--predictions", tmp_path / f"{name}.csv")
        done = command(ONNX, coloured, "--onnx-input", net, *FLAGS, *flags, *outputs)
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    timing = ("seconds", "images_per_second")
    assert {k: v for k, v in one.items() if k not in timing} == {k: v for k, v in two.items() if k not in timing}
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()


def test_an_error_of_a_shard_is_one_line(ray_address, command, coloured, net):
    (coloured / "red" / "3.jpg").write_bytes(b"broken")
    done = command(ONNX, coloured, "--onnx-input", net, *FLAGS, "--ray", ray_address)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "red/3.jpg" in done.stderr


def test_a_cluster_that_is_not_there_is_one_line(command, coloured, net):
    pytest.importorskip("ray", reason="Ray is not installed (the extra `cluster`)")
    done = command(ONNX, coloured, "--onnx-input", net, *FLAGS, "--ray", "127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "no Ray cluster answers at 127.0.0.1:1" in done.stderr
