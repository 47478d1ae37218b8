"""onnx_to_caffe.py --int8: flags, recipes, reports and exit statuses, as a user meets them."""

import dataclasses
import json
import re
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pytest
from float_nets import FloatNet
from PIL import Image

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile.commands.convert import main
from caffe2_mobile.commands.program import run
from caffe2_models import load_net
from caffe2_models.preprocessing import get_preprocessing, set_preprocessing
from exporters.caffe2_to_onnx import to_onnx
from exporters.int8.ranges import METHODS
from exporters.int8.recipe import RECIPES, Recipe, find_recipe
from exporters.int8.report import Latency
from exporters.onnx_files import save_onnx

NASTY = "a<b>&'\"c/${model}"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Runs the command in tmp_path: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAFFE2_PYTHON", raising=False)  # so that ONNX Runtime alone is compared with
    latency = Latency("a <phone>", 3.21, 2.5, 4.5)
    monkeypatch.setattr("caffe2_mobile.api.quantize.estimated_latency", lambda net, shapes: latency)

    def call(*argv):
        monkeypatch.setattr(sys, "argv", ["onnx_to_caffe.py", *map(str, argv)])
        with pytest.raises(SystemExit) as done:
            run(main)
        output = capsys.readouterr()
        return done.value.code or 0, output.out, output.err

    return call


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Twelve images in three class folders."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for index in range(12):
        path = folder / "abc"[index % 3] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 34, 3), np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def float_files(tmp_path_factory):
    """--c2-init and --c2-predict of a small classifier of three classes."""
    net = FloatNet(3, 24, 24)
    x = net.conv("data", 8, kernel=3, stride=2, relu=True)
    x = net.conv(net.conv(x, 8, kernel=3, group=8, relu=True), 6)
    net.add("Softmax", net.fc(net.add("AveragePool", x, global_pooling=1), 3))
    made = net.net()
    made.predict.name = NASTY
    for op in made.predict.op:
        for names in (op.input, op.output):
            names[:] = [name.replace("conv_", "<conv>&_") for name in names]
    for names in (made.init.external_output, made.predict.external_input, made.predict.external_output):
        names[:] = [name.replace("conv_", "<conv>&_") for name in names]
    for op in made.init.op:
        op.output[0] = op.output[0].replace("conv_", "<conv>&_")
    set_preprocessing(made.predict, Preprocessing(size=24, mean=(0.5,) * 3, std=(0.25,) * 3))
    prefix = tmp_path_factory.mktemp("float") / "net"
    made.save(prefix)
    return "--c2-init", f"{prefix}.init.pb", "--c2-predict", f"{prefix}.predict.pb"


@pytest.fixture
def quantize(call, float_files, photographs):
    return partial(
        call, *float_files, "--c2-prefix", "made", "--int8", "--calibration-data", photographs, "--threads", 1
    )


def test_a_net_and_a_summary_come_out(quantize, tmp_path):
    status, out, err = quantize("--recipe", "fast", "--calibration-images", 9)
    assert (status, err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.init.pb", "made.predict.pb"]
    net = load_net(tmp_path)
    assert net.is_quantized and get_preprocessing(net.predict).std == (0.25,) * 3
    assert out.startswith("made.init.pb, made.predict.pb:\n")
    assert "calibration images: 9, of which " in out and " Int8FC, " in out
    assert "latency: 3.2 ms (2.5 to 4.5) on a <phone>, estimated" in out


def test_onnx_gives_the_net_that_caffe2_gives(call, quantize, float_files, photographs, tmp_path):
    net = load_net(float_files[3], float_files[1])
    model = to_onnx(net, {"data": (1, 3, 24, 24)})
    save_onnx(model, tmp_path / "model.onnx")
    status, out, err = call("model.onnx", "--c2-prefix", "second", "--int8", "--calibration-data", photographs,
                            "--recipe", "minmax", "--mean", *[0.5] * 3, "--std", *[0.25] * 3)  # fmt: skip
    assert (status, err) == (0, "") and out.count(": close") == 2
    assert quantize("--recipe", "minmax")[0] == 0
    first, second = (
        load_net(tmp_path / f"{name}.predict.pb", tmp_path / f"{name}.init.pb") for name in ("made", "second")
    )
    assert [op.type for op in second.predict.op] == [op.type for op in first.predict.op]
    x = {"data": np.random.default_rng(0).normal(size=(4, 3, 24, 24)).astype(np.float32)}
    for one, other in zip(first.session().run(x).values(), second.session().run(x).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_bytes_come_out_every_time(quantize, tmp_path):
    contents = set()
    for _ in range(2):
        assert quantize("--recipe", "best")[0] == 0
        contents.add((tmp_path / "made.init.pb").read_bytes() + (tmp_path / "made.predict.pb").read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize("limit, status", [(-101, 1), (100, 0)])
def test_the_drop_decides_the_exit_status(quantize, limit, status):
    code, out, _ = quantize("--recipe", "minmax", "--max-drop", limit)
    assert code == status
    verdict = "more than" if status else "within"
    assert re.search(rf"^drop: -?[\d.]+ points of top-1, {verdict} --max-drop {limit}$", out, re.M)


def test_other_images_are_what_the_drop_is_measured_on(quantize, photographs, tmp_path):
    status, out, _ = quantize("--recipe", "minmax", "--evaluation-data", photographs, "--evaluation-images", 6,
                              "--report", "r.json")  # fmt: skip
    report = json.loads((tmp_path / "r.json").read_text())
    assert status == 0 and report["evaluation"]["images"] == 6 and report["calibration"]["images"] == 12
    assert report["drop"] == report["evaluation"]["drop"]
    assert "other images: 6, of which" in out


def test_without_labels_agreement_counts(call, float_files, photographs, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photographs.rglob("*.png"):
        (flat / path.name).write_bytes(path.read_bytes())
    status, out, _ = call(*float_files, "--c2-prefix", "made", "--int8", "--calibration-data", flat,
                          "--recipe", "minmax", "--max-drop", 100)  # fmt: skip
    assert status == 0 and "top-1" not in out.partition("drop:")[0]
    assert "% of the images change their class, within" in out


class References(HTMLParser):
    """What a page would load, and the texts of its cells and titles."""

    def __init__(self, page: str):
        super().__init__()
        self.loaded, self.texts, self.scripts = [], [], 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        self.scripts += tag == "script"
        self.loaded += [value for name, value in attributes if name in ("src", "href", "data", "srcset")]

    def handle_data(self, data):
        self.texts.append(data)


def test_reports_agree(quantize, tmp_path):
    status, out, _ = quantize("--recipe", "fast", "--report", "r.txt", "r.json", "r.html")
    assert status == 0
    text, page = (tmp_path / "r.txt").read_text(), (tmp_path / "r.html").read_text()
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["model"] == NASTY and report["recipe"] == dataclasses.asdict(RECIPES["fast"])
    assert out.splitlines()[1:6] == text.splitlines()[:5]  # what is printed is how the report begins

    net = load_net(tmp_path / "made.predict.pb", tmp_path / "made.init.pb")
    assert sum(report["operators"].values()) == len(net.predict.op)
    assert text.startswith(f"{NASTY}: {len(net.predict.op)} operators (")
    assert report["int8_bytes"] == sum(t.nbytes for t in net.parameter_types.values()) < report["float_bytes"]
    assert report["latency"] == {"device": "a <phone>", "ms": 3.21, "low_ms": 2.5, "high_ms": 4.5}
    assert f"of which {report['calibration']['agreement']:.1f} % get the same class" in text
    assert report["islands"] == 0

    rows = [line.split() for line in text.splitlines() if " Int8" in line and "operators (" not in line]
    guilty = sorted(report["layers"], key=lambda layer: -layer["added"])
    assert [row[0] for row in rows] == [layer["name"] for layer in guilty]
    for row, layer in zip(rows, guilty, strict=True):
        assert row[1] == layer["type"] and float(row[2]) == pytest.approx(layer["sqnr_db"], abs=0.051)
        assert f"{layer['cosine']:.5f}" in page

    parsed = References(page)
    assert all(link.startswith("#") for link in parsed.loaded) and not re.search(r"url\(|@import", page)
    assert parsed.scripts == 1  # the tables' own, which sorts
    assert f"Int8: {NASTY}" in parsed.texts
    assert {layer["name"] for layer in report["layers"]} <= set(parsed.texts)
    assert any("<conv>&" in text for text in parsed.texts)


BAD_RECIPES = {
    "{": "is no JSON",
    "\xff": "is no JSON",
    "[]": "an object with the fields of a recipe is expected",
    '{"colour": 1}': "colour is no field of a recipe; there are ranges, ",
    '{"ranges": "median"}': "ranges median is none of minmax, ",
    '{"ranges": 3}': "ranges is 3; str",
    '{"absorption": 1}': "absorption is 1; bool",
    '{"clipping": "yes"}': "clipping is 'yes'; bool",
    '{"seconds": true}': "seconds is True; ",
    '{"seconds": "long"}': "seconds is 'long'; ",
}  # content of the file: what is said of it


@pytest.mark.parametrize("content", BAD_RECIPES)
def test_bad_recipes_are_one_line(quantize, tmp_path, content):
    (tmp_path / "mine.json").write_bytes(content.encode("latin-1"))
    status, out, err = quantize("--recipe", "mine.json")
    assert (status, out) == (2, "")
    assert err.startswith("onnx_to_caffe.py: mine.json: ") and err.count("\n") == 1 and BAD_RECIPES[content] in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


def test_recipes_are_files_of_their_fields(tmp_path):
    for name, recipe in RECIPES.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(dataclasses.asdict(recipe)))
        assert find_recipe(str(path)) == find_recipe(name) == recipe
    (tmp_path / "mine.json").write_text('{"ranges": "kl", "absorption": false, "seconds": 3}')
    assert find_recipe(str(tmp_path / "mine.json")) == Recipe(ranges="kl", absorption=False, seconds=3)
    with pytest.raises(ModelError, match=r"recipe quick is none of best, tuned, fast, minmax, and no \.json file"):
        find_recipe("quick")


def test_flags_have_the_last_word(quantize, tmp_path):
    switches = [
        field.name for field in dataclasses.fields(Recipe) if field.name not in ("ranges", "widening", "seconds")
    ]
    flags = [f"--no-{name.replace('_', '-')}" for name in switches]
    assert quantize("--recipe", "best", *flags, "--ranges", "minmax", "--report", "r.json")[0] == 0
    made = (tmp_path / "made.init.pb").read_bytes()
    recipe = json.loads((tmp_path / "r.json").read_text())["recipe"]
    assert recipe["ranges"] == "minmax" and not any(recipe[name] for name in switches)
    assert quantize("--recipe", "minmax")[0] == 0
    assert (tmp_path / "made.init.pb").read_bytes() == made


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_at_hand(quantize, name):
    assert quantize("--recipe", "minmax", "--ranges", name)[0] == 0


def truncated(folder):
    path = folder / "a" / "0.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:60])


BAD_CALLS = {
    "no folder": (["--calibration-data", "nowhere"], "nowhere: no such folder of calibration images"),
    "a file": (["--calibration-data", "file.txt"], "file.txt: no such folder of calibration images"),
    "empty": (["--calibration-data", "empty"], "empty"),
    "no images": (["--calibration-data", "texts"], "texts"),
    "corrupt": (["--calibration-data", "corrupt"], "corrupt/a/0.png: "),
    "zero images": (["--calibration-images", "0"], "--calibration-images"),
    "recipe": (["--recipe", "quick"], "recipe quick is none of best, tuned, fast, minmax"),
    "missing recipe": (["--recipe", "gone.json"], "gone.json: No such file"),
    "ranges": (["--ranges", "median"], "--ranges"),
    "report": (["--report", "r.pdf"], "r.pdf: a report ends in .txt, .json, .html"),
    "output in a file": (["--c2-prefix", "file.txt/made"], "file.txt"),
    "evaluation": (["--evaluation-data", "empty"], "empty"),
    "mean": (["--mean", "0.5", "0.5"], "mean"),
    "deviation": (["--std", "0", "0", "0"], "std"),
}  # what is wrong: (flags, what the line says)


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_one_line_and_write_nothing(quantize, tmp_path, case):
    (tmp_path / "file.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "b.txt").write_text("no image")
    truncated(tmp_path / "corrupt")
    before = sorted(tmp_path.rglob("*"))
    flags, said = BAD_CALLS[case]
    status, _, err = quantize("--recipe", "minmax", *flags)
    assert status == 2 and said in err and err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_net_without_an_image_as_input_is_one_line(call, photographs, tmp_path):
    net = FloatNet(3, 8, 6)
    net.conv("data", 4)
    made = net.net()
    made.save(tmp_path / "odd")
    status, _, err = call("--c2-init", "odd.init.pb", "--c2-predict", "odd.predict.pb", "--c2-prefix", "made",
                          "--int8", "--calibration-data", photographs)  # fmt: skip
    assert status == 2 and "is not recorded in the net" in err and err.count("\n") == 1


def test_from_the_shell(float_files, photographs, root, tmp_path):
    """The script itself, with the real latency table."""
    done = subprocess.run(
        [sys.executable, root / "onnx_to_caffe.py", *float_files, "--c2-prefix", tmp_path / "made", "--int8",
         "--calibration-data", photographs, "--recipe", "fast", "--max-drop", "-101"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"^latency: [\d.]+ ms \(", done.stdout, re.M)
