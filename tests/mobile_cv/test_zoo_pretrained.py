"""Weights: published ones from a local server, files of every form, and what can be wrong with them."""

import functools
import hashlib
import http.server
import pickle
import threading

import pytest
import torch

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo import create_model, pretrained

NAME = "mnasnet_small"


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(3)
    return create_model(NAME).state_dict()


@pytest.fixture
def server(tmp_path):
    """A folder that is served, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def published(server, weights, tmp_path, monkeypatch):
    """NAME's weights published on the server; gives the served file and torch.hub's cache."""
    folder, address = server
    path = folder / "weights.pth"
    torch.save(weights, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = {"url": f"{address}/weights.pth", "sha256": sha256[:8]}
    monkeypatch.setitem(pretrained.WEIGHTS, NAME, entry)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return path, tmp_path / "home" / "hub" / "checkpoints"


def test_published_weights_are_downloaded_once(published, weights):
    path, cache = published
    model = create_model(NAME, pretrained=True)
    torch.testing.assert_close(dict(model.state_dict()), dict(weights), rtol=0, atol=0)
    path.unlink()
    torch.testing.assert_close(dict(create_model(NAME, pretrained=True).state_dict()), dict(weights))
    assert [file.name for file in cache.iterdir()] == ["weights.pth"]


def test_another_number_of_classes_keeps_its_own_classifier(published, weights):
    model = create_model(NAME, pretrained=True, num_classes=10)
    assert torch.equal(model.state_dict()["conv_head.weight"], weights["conv_head.weight"])
    assert model.classifier.out_features == 10
    with pytest.raises(ModelError, match="3 input channels, not 1"):
        create_model(NAME, pretrained=True, in_chans=1)


def test_a_download_that_is_not_the_published_file_is_refused(published):
    path, cache = published
    path.write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"weights.pth: not the published file .*--checkpoint"):
        create_model(NAME, pretrained=True)
    assert list(cache.iterdir()) == []


def test_a_damaged_cache_is_named(published):
    create_model(NAME, pretrained=True)
    cached = published[1] / "weights.pth"
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(ModelError, match=rf"{cached}: not the published file .*--checkpoint"):
        create_model(NAME, pretrained=True)


def test_offline_names_the_way_out(published, monkeypatch):
    entry = {"url": "http://127.0.0.1:9/weights.pth", "sha256": ""}  # nobody listens on that port
    monkeypatch.setitem(pretrained.WEIGHTS, NAME, entry)
    with pytest.raises(ModelError, match=r"127.0.0.1:9.*cannot be downloaded.*--checkpoint"):
        create_model(NAME, pretrained=True)


def test_files_of_one_name_at_two_addresses_do_not_collide(published, server):
    folder, address = server
    for part in ("a", "b"):
        (folder / part).mkdir()
        (folder / part / "model.pth").write_text(part)
    paths = [pretrained.download(f"{address}/{part}/model.pth") for part in ("a", "b")]
    assert [path.read_text() for path in paths] == ["a", "b"]


def test_models_without_published_weights_say_so():
    with pytest.raises(ModelError, match=r"mobilenetv1_100: no PyTorch weights .*--checkpoint"):
        create_model("mobilenetv1_100", pretrained=True)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"model_ema": state, "state_dict": {}, "epoch": 3},
        lambda state: {"model_ema": None, "state_dict": state},
        lambda state: {"model": {f"_orig_mod.{key}": value for key, value in state.items()}},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
    ],
    ids=["plain", "state_dict", "module", "ema", "no ema", "compiled", "old BN"],
)
def test_every_form_of_a_checkpoint_loads(tmp_path, weights, wrap):
    path = tmp_path / "weights.pth"
    torch.save(wrap(weights), path)
    model = create_model(NAME, checkpoint_path=path)
    torch.testing.assert_close(dict(model.state_dict()), dict(weights), rtol=0, atol=0)


class Code:
    def __reduce__(self):
        return (print, ("run!",))


def test_no_code_in_a_checkpoint_is_run(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": Code()}, path)
    with pytest.raises(ModelError, match=f"{path}: no file of weights.*--checkpoint"):
        create_model(NAME, checkpoint_path=path)
    path.write_bytes(pickle.dumps(Code(), protocol=2))
    with pytest.raises(ModelError, match=f"{path}: no file of weights.*--checkpoint"):
        create_model(NAME, checkpoint_path=path)
    assert "run!" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"PK\x03\x04 not a zip", b"<html>404</html>"])
def test_files_that_are_no_weights_are_one_line(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="--checkpoint") as error:
        create_model(NAME, checkpoint_path=path)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(ModelError, match=f"{path}: .*--checkpoint"):
            create_model(NAME, checkpoint_path=path)


def test_weights_of_another_model_are_refused_whole(tmp_path, weights):
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    with pytest.raises(ModelError, match=r"not the weights of mnasnet_b1: .*missing.*of another shape"):
        create_model("mnasnet_b1", checkpoint_path=path)
    torch.save({"state_dict": {"a": 3}}, path)
    with pytest.raises(ModelError, match="holds no state dict"):
        create_model(NAME, checkpoint_path=path)


def test_real_checkpoints_load(shared):
    for name in ("tf_mobilenetv2_100", "tf_mobilenetv1_050"):
        model = create_model(name, checkpoint_path=shared / "models" / f"{name}.pth")
        assert model.default_cfg["mean"] == (0.5, 0.5, 0.5)
