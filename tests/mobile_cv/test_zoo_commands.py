"""list_models.py, validate.py, quantize_torch.py and hubconf.py, as a user runs them."""

import csv
import io
import json
import subprocess
import sys

import pytest
import torch


@pytest.fixture(scope="module")
def run(root):
    def run(*command: str, status: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run([sys.executable, *command], cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return done

    return run


def test_list_models_as_csv(run):
    names = ["mnasnet_a1", "tf_mixnet_s", "ChamNet-F/*"]
    table = run("scripts/list_models.py", *names, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["model"] for row in rows] == [
        "mnasnet_a1", "tf_mixnet_s", "tf_mixnet_s", "ChamNet-F/fp32", "ChamNet-F/int8",
    ]  # fmt: skip
    assert rows[0]["params_m"] == rows[0]["params_m_published"] == "3.9"
    assert rows[0]["madds_m"] == rows[0]["madds_m_published"] == "312"
    assert (rows[0]["top1"], rows[0]["pretrained"]) == ("75.448", "yes")
    assert {row["preprocessing"] for row in rows[1:3]} == {"", "tensorflow bilinear"}
    assert (rows[4]["top1"], rows[4]["latency_ms"], rows[4]["madds_m"]) == ("57.7", "2.7", "30.8")


def test_list_models_marks_what_differs(run):
    text = run("scripts/list_models.py", "FBNetV2_F3", "--format", "markdown").stdout
    assert "| 121* | 126 |" in text


def test_list_models_names(run):
    names = run("scripts/list_models.py", "mobilenetv3_*", "--names").stdout.split()
    assert "mobilenetv3_rw" in names and "mobilenetv3_100" in names


def test_list_models_of_nothing_is_one_line(run):
    done = run("scripts/list_models.py", "efficientnet_b9", status=2)
    assert done.stderr.startswith("list_models.py: no model named 'efficientnet_b9'")
    assert len(done.stderr.splitlines()) == 1


def test_validate_and_quantize_a_real_model(run, shared, tmp_path):
    images, checkpoint = shared / "data" / "imagenet-sample", shared / "models" / "tf_mobilenetv1_050.pth"
    model = ["--model", "tf_mobilenetv1_050", "--checkpoint", str(checkpoint), "--img-size", "160"]

    def validate(*model: str) -> dict:
        results = tmp_path / "results.json"
        some = ["--limit", "100", "-j", "1", "--threads", "1", "--results-file", str(results)]
        run("scripts/validate.py", str(images), *model, *some)
        return json.loads(results.read_text())

    of_float = validate(*model)
    assert of_float["n"] == 100
    assert of_float["top1"] == pytest.approx(74, abs=1)
    int8 = str(tmp_path / "model.jpt")
    run("scripts/quantize_torch.py", int8, *model, "--calibration-data", str(images))
    # The weights were trained for per-tensor int8.
    assert validate("--model", int8)["top1"] >= of_float["top1"] - 6


def test_validate_without_weights_is_one_line(run, shared, monkeypatch, tmp_path):
    images = str(shared / "data" / "imagenet-sample")
    done = run("scripts/validate.py", images, "--model", "mobilenetv1_100", status=2)
    assert done.stderr == (
        "validate.py: mobilenetv1_100: no PyTorch weights were published; give your own by --checkpoint\n"
    )


def test_torch_hub_loads_and_lists(root, tmp_path, monkeypatch):
    model = torch.hub.load(str(root), "mnasnet_small", source="local", num_classes=5)
    assert model.classifier.out_features == 5
    # torch.hub.list knows only repositories in its cache, so there it goes.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "owner_zoo_main"
    cached.parent.mkdir()
    cached.symlink_to(root)
    entry_points = torch.hub.list("owner/zoo:main", skip_validation=True, trust_repo=True)
    assert {"efficientnet_b0", "fbnet_a", "dmasking_f2", "mobilenetv3_rw"} <= set(entry_points)
    assert "create_model" in torch.hub.help("owner/zoo:main", "efficientnet_b0", skip_validation=True, trust_repo=True)
