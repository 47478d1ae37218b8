"""The commands as a user runs them: results, exit statuses, pieces, interruptions."""

import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from image_cases import colour_net, encode, noise

from caffe2_common.files import write_atomically
from caffe2_common.preprocessing import Preprocessing
from caffe2_models import kernels
from caffe2_models.preprocessing import set_preprocessing
from caffe2_models.proto import caffe2_pb2

FLAGS = ("--img-size", 16, "--mean", 0.5, "--std", 0.5, "-j", 1, "--threads", 1)
ONNX = "scripts/onnx_validate.py"
QUANTIZED = {"0.25_128": (128, 0.875, 45.4, 72.0), "0.5_160": (160, 0.874, 69.6, 88.4)}


def without_time(path) -> dict:
    content = json.loads(path.read_text())
    return {k: v for k, v in content.items() if k not in ("seconds", "images_per_second", "images_run")}


def one_line(process) -> str:
    assert process.returncode == 2, process
    assert process.stderr.count("\n") == 1 and "Traceback" not in process.stderr
    return process.stderr


def colour_net_of_caffe2(folder, preprocessing=None):
    """The Caffe2 form of colour_net: model folder with predict_net.pb and init_net.pb."""
    predict = caffe2_pb2.NetDef(name="colours", external_input=["data", "w", "b"], external_output=["prob"])
    pool = predict.op.add(type="AveragePool", input=["data"], output=["mean"])
    pool.arg.add(name="global_pooling", i=1)
    predict.op.add(type="FC", input=["mean", "w", "b"], output=["scores"])
    predict.op.add(type="Softmax", input=["scores"], output=["prob"])
    init = caffe2_pb2.NetDef()
    for name, values in (("w", np.eye(3)[::-1]), ("b", np.zeros(3))):
        fill = init.op.add(type="GivenTensorFill", output=[name])
        fill.arg.add(name="shape", ints=values.shape)
        fill.arg.add(name="values", floats=values.ravel())
    if preprocessing is not None:
        set_preprocessing(predict, preprocessing)
    write_atomically(folder / "predict_net.pb", predict.SerializeToString())
    write_atomically(folder / "init_net.pb", init.SerializeToString())
    return folder


@pytest.mark.parametrize("model", QUANTIZED)
def test_real_int8_nets_score_what_caffe2_scored_on_the_same_crops(shared, command, tmp_path, model):
    if not kernels.is_available():
        pytest.skip("500 images take minutes without the int8 kernels")
    size, crop_pct, top1, top5 = QUANTIZED[model]
    folder = shared / "models" / f"mobilenet_v1_{model}_quant"
    done = command(
        "caffe2_validate.py", shared / "data" / "imagenet-sample",
        "--model-dir", folder, "--img-size", size,
        "--mean", 0.5, 0.5, 0.5, "--std", 0.5, 0.5, 0.5, "--interpolation", "bilinear",
        "--crop-pct", crop_pct, "--results-file", tmp_path / "r.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    recorded = json.loads((folder / "accuracy.json").read_text())["caffe2_1_8_1"]["even"]
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["top1"], result["top5"], result["n"]) == (top1, top5, 500)
    assert (recorded["top1"], recorded["top5"], recorded["n"]) == (top1, top5, 500)


def test_caffe2_form_with_its_own_preprocessing(command, coloured, tmp_path):
    recorded = Preprocessing(size=20, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3)
    folder = colour_net_of_caffe2(tmp_path / "net", recorded)
    done = command("caffe2_validate.py", coloured, "--model-dir", folder, "--results-file", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("preprocessing: 20 px, bicubic, crop 0.875, RGB, (pixel / 255 - [0.5 0.5 0.5])")
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["preprocessing"]["std"] == [0.25] * 3
    assert (result["model"], result["form"], result["n"]) == ("net", "caffe2-fp32", 12)
    assert result["top1"] == pytest.approx(100 * 11 / 12, abs=1e-3)
    overridden = command("caffe2_validate.py", coloured, "--model-dir", folder, "--img-size", 8, "--bgr")
    assert "preprocessing: 8 px, bicubic, crop 0.875, BGR" in overridden.stdout
    assert "top-1    41.67 %" in overridden.stdout.replace("top-1   41", "top-1    41")  # green, and the blue "red"


def test_what_neither_file_nor_flags_tell_is_said(command, coloured, tmp_path):
    folder = colour_net_of_caffe2(tmp_path / "net")
    done = command("caffe2_validate.py", coloured, "--model-dir", folder, "--limit", 2, "--mean", 0.5)
    assert "records no preprocessing; ImageNet's is assumed for --img-size, --std\n" in done.stderr
    told = command(
        "caffe2_validate.py", coloured, "--model-dir", folder, "--limit", 2, "--mean", 0, "--std", 1, "--img-size", 8
    )
    assert (done.returncode, told.returncode, told.stderr) == (0, 0, "")


def test_forms_agree_and_flips_are_shown(command, coloured, net, tmp_path):
    folder = colour_net_of_caffe2(tmp_path / "net")
    first = command("caffe2_validate.py", coloured, "--model-dir", folder, *FLAGS, "--predictions", tmp_path / "a.csv")
    assert first.returncode == 0, first.stderr
    same = command(ONNX, coloured, "--onnx-input", net, *FLAGS, "--compare", tmp_path / "a.csv")
    assert "agree on 12 of 12 images (100.00 %), 0 flips" in same.stdout
    other = colour_net(tmp_path / "other.onnx", rows=((0, 0, 1), (0, 1, 0), (-1, -1, -9)))
    command(ONNX, coloured, "--onnx-input", other, *FLAGS, "--predictions", tmp_path / "b.csv")
    files = ("--compare", tmp_path / "a.csv", tmp_path / "b.csv")
    done = command(ONNX, *files, "--results-file", tmp_path / "flips.json")
    assert json.loads((tmp_path / "flips.json").read_text())["agree"] == 8
    assert "agree on 8 of 12 images (66.67 %), 4 flips" in done.stdout
    assert "green/0.jpg: class 1, a 1, b 2" in done.stdout


def test_shards_merge_to_the_run_in_one_piece(command, coloured, net, tmp_path):
    whole, *parts = (tmp_path / f"{name}.json" for name in ("whole", "1", "2"))
    common = (ONNX, coloured, "--onnx-input", net, *FLAGS, "-b", 2)
    command(*common, "--results-file", whole)
    for number, part in enumerate(parts, start=1):
        assert command(*common, "--shard", f"{number}/2", "--results-file", part).returncode == 0
    merged = tmp_path / "merged.json"
    assert command(ONNX, "--merge", *parts, "--results-file", merged).returncode == 0
    assert without_time(merged) == without_time(whole)
    assert "each of 1/2" in one_line(command(ONNX, "--merge", parts[0]))


def test_killed_at_a_random_moment_and_resumed_gives_the_same_result(root, command, tmp_path):
    images = tmp_path / "images"
    for name in ("a", "b"):
        (images / name).mkdir(parents=True)
        content = encode(noise(1600, 1600, ord(name)), "PNG", compress_level=1)
        for k in range(10):
            (images / name / f"{k}.png").write_bytes(content)
    net = colour_net(tmp_path / "n.onnx", rows=((1, 0, 0), (0, 1, 0)))
    flags = [images, "--onnx-input", net, *FLAGS, "-b", 1, "--results-file"]
    assert command(ONNX, *flags, tmp_path / "whole.json").returncode == 0
    result, state = tmp_path / "r.json", tmp_path / "r.json.state"
    words = [sys.executable, root / ONNX, *flags, result]
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.random() / 5)
    process.kill()
    process.wait()
    assert state.exists(), "the run was over before its first state was saved"
    done = command(ONNX, *flags, result, "--resume")
    assert done.returncode == 0, done.stderr
    assert "resumed: " in done.stdout
    assert without_time(result) == without_time(tmp_path / "whole.json")
    assert not state.exists()


def test_an_interrupted_run_keeps_its_state_and_another_run_does_not_take_it(command, coloured, net, tmp_path):
    (coloured / "red" / "3.jpg").write_bytes(b"broken")
    flags = (ONNX, coloured, "--onnx-input", net, *FLAGS, "-b", 1, "--results-file", tmp_path / "r.json")
    assert "red/3.jpg" in one_line(command(*flags))
    assert not (tmp_path / "r.json").exists()
    assert "preprocessing differ" in one_line(command(*flags, "--resume", "--crop-pct", 0.8))
    done = command(*flags, "--resume", "--skip-broken")
    assert done.returncode == 0, done.stderr
    assert "resumed: " in done.stdout and "1 broken images left out" in done.stdout
    assert json.loads((tmp_path / "r.json").read_text())["n"] == 11


def test_published_decides_the_exit_status(command, coloured, net):
    flags = (ONNX, coloured, "--onnx-input", net, *FLAGS, "--published")
    good = command(*flags, "FBNet-96")
    assert good.returncode == 0 and "within what chance allows" in good.stdout
    bad = colour_net(net.parent / "bad.onnx", rows=((0, 0, 0), (0, 0, 0), (0, 0, 9)))
    done = command(ONNX, coloured, "--onnx-input", bad, *FLAGS, "--published", "tf_efficientnet_b5")
    assert done.returncode == 1 and "BELOW" in done.stdout
    assert "resnet" in one_line(command(*flags, "resnet"))


def test_validate_all_prints_ours_beside_published_and_does_nothing_twice(command, coloured, net, tmp_path):
    folder = colour_net_of_caffe2(tmp_path / "net")
    (tmp_path / "list.txt").write_text(
        f"# form  published  flags\nonnx fbnet_a --onnx-input {net}\n\ncaffe2 - --model-dir {folder}\n"
    )
    flags = (
        "scripts/validate_all.py",
        tmp_path / "list.txt",
        coloured,
        "--output",
        tmp_path / "out",
        "--",
        *FLAGS,
    )
    done = command(*flags)
    assert done.returncode == 0, done.stderr
    header, first, second = done.stdout.splitlines()
    assert header.split() == ["net", "form", "images", "top-1", "published", "top-5", "published"]
    assert first.split() == ["fbnet_a", "onnx", "12", "91.67", "73.30", "100.00", "90.90", "holds"]
    assert second.split() == ["net", "caffe2-fp32", "12", "91.67", "100.00"]
    assert (tmp_path / "out" / "results.csv").read_text().count("\n") == 3
    net.unlink()  # so that a second run would fail
    again = command(*flags)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    (tmp_path / "list.txt").write_text(f"onnx fbnet_a --onnx-input {tmp_path / 'absent.onnx'}\n")
    failed = command(*flags)
    assert failed.returncode == 2 and "absent.onnx" in failed.stderr
    (tmp_path / "list.txt").write_text("tflite x y\n")
    assert "line 1" in one_line(command(*flags))


def test_bad_input_is_one_line_and_status_2(command, coloured, net, tmp_path):
    folder = colour_net_of_caffe2(tmp_path / "net")
    (tmp_path / "cut.onnx").write_bytes(net.read_bytes()[:40])
    (folder / "cut.pb").write_bytes((folder / "predict_net.pb").read_bytes()[:-20])
    caffe2 = "caffe2_validate.py"
    assert "absent" in one_line(command(ONNX, tmp_path / "absent", "--onnx-input", net))
    assert "absent.onnx" in one_line(command(ONNX, coloured, "--onnx-input", tmp_path / "absent.onnx"))
    assert "cut.onnx" in one_line(command(ONNX, coloured, "--onnx-input", tmp_path / "cut.onnx"))
    assert "cut.pb" in one_line(
        command(caffe2, coloured, "--c2-predict", folder / "cut.pb", "--c2-init", folder / "init_net.pb")
    )
    assert "name the net" in one_line(command(caffe2, coloured))
    assert "name the net" in one_line(command(ONNX, coloured))
    assert "--state" in one_line(command(ONNX, coloured, "--onnx-input", net, "--resume"))
    assert ".json" in one_line(command(ONNX, coloured, "--onnx-input", net, "--results-file", "r.xml"))
    assert "crop_pct" in one_line(command(ONNX, coloured, "--onnx-input", net, "--crop-pct", 7))


def test_memory_does_not_grow_with_the_number_of_images(root, net, tmp_path):
    peaks = {}
    for n in (500, 10_000):
        folder = tmp_path / str(n)
        for name in ("blue", "green", "red"):
            (folder / name).mkdir(parents=True)
            (folder / name / "0.png").write_bytes(encode(noise(16, 16), "PNG"))
            for k in range(1, n // 3):
                (folder / name / f"{k}.png").hardlink_to(folder / name / "0.png")
        words = [sys.executable, root / ONNX, folder, "--onnx-input", net, *FLAGS, "-b", 32]
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks[n] = usage.ru_maxrss / 1024
    assert peaks[10_000] - peaks[500] < 8  # MiB: names and outcomes; the crops would be 29
