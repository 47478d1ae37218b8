"""The scripts, one function each: it prepares what the script reads, runs it, and says what it compared."""

import importlib.util
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from caffe2_mobile import LatencyOptions, ValidateOptions, latency, load_net, validate
from caffe2_mobile.api.export import ExportOptions, export
from caffe2_models.build import make_init
from caffe2_models.net import Net
from caffe2_models.proto import caffe2_pb2
from caffe2_models.published import published_net
from caffe2_models.runtimes.onnx_runtime import open_session
from clients.notebooks import script_of
from clients.workshop import STAND_INS, Workshop, expect
from exporters.onnx_to_caffe2 import convert

Case = Callable[[Workshop], str]
CASES: dict[str, Case] = {}

DRIVERS = Path(__file__).with_name("drivers")
SYNSETS = "data/imagenet_synsets.txt"


def case(name: str) -> Callable[[Case], Case]:
    def add(function: Case) -> Case:
        CASES[name] = function
        return function

    return add


# ------------------------------------------------------------------------------------------ conversion


def zoo_onnx(folder: Path, model: str = "fbnet_c", size: int = 64) -> Path:
    """A model of the zoo with random weights."""
    path = folder / f"{model}.onnx"
    export(model, ExportOptions(random_weights=True, img_size=size)).save(path)
    return path


def compare_conversion(model: onnx.ModelProto, predict: Path, init: Path) -> str:
    """Hold written files against our converter, value by value, and against ONNX Runtime on the ONNX model."""
    net = load_net(predict, init)
    (entry,) = [value for value in model.graph.input if value.name in net.inputs]
    shape = [dim.dim_value or 1 for dim in entry.type.tensor_type.shape.dim]
    image = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    written, ours = (one.session().run({entry.name: image}, net.outputs) for one in (net, convert(model)))
    session = open_session(model.SerializeToString())
    by_onnx_runtime = session.run(net.outputs, {entry.name: image})
    for name, expected in zip(net.outputs, by_onnx_runtime, strict=True):
        expect(np.array_equal(written[name], ours[name]), f"{name} differs from our converter's net")
        scale = np.abs(expected).max()
        expect(
            np.allclose(written[name], expected, rtol=1e-3, atol=1e-4 * scale), f"{name} differs from ONNX Runtime's"
        )
    return "the files load; outputs equal our converter's net, and ONNX Runtime's on the model to rounding"


@case("gen-efficientnet-pytorch/onnx_to_caffe.py")
def onnx_to_caffe(shop: Workshop) -> str:
    model = zoo_onnx(shop.folder)
    repository = shop.clone("rwightman/gen-efficientnet-pytorch")
    shop.run(repository / "onnx_to_caffe.py", model, "--c2-prefix", "c2")
    return compare_conversion(onnx.load(model), shop.folder / "c2.predict.pb", shop.folder / "c2.init.pb")


@case("FAI-PEP/onnx_to_caffe2.py")
def fai_pep(shop: Workshop) -> str:
    model = zoo_onnx(shop.folder, "mobilenetv3_small_075")
    script = shop.clone("facebook/FAI-PEP") / "libraries/python/onnx_to_caffe2.py"
    shop.run(script, "--onnx-model", model, "--caffe2-init", "init.pb", "--caffe2-predict", "predict.pb")
    return compare_conversion(onnx.load(model), shop.folder / "predict.pb", shop.folder / "init.pb")


# ---------------------------------------------------------------------------- benchmarks and validation


@case("gen-efficientnet-pytorch/caffe2_benchmark.py")
def caffe2_benchmark(shop: Workshop) -> str:
    net = published_net("FBNet-96/fp32")
    net.save(shop.folder / "c2")
    script = shop.clone("rwightman/gen-efficientnet-pytorch") / "caffe2_benchmark.py"
    printed = shop.run(script, "--c2-prefix", "c2", "--img-size", "96")
    named = re.findall(r"^Operator #\d+ \(.*?, (\w+)\)", printed, re.MULTILINE)
    expect(named == [op.type for op in net.predict.op], "the operators printed are not the net's")
    per_type = set(re.findall(r"^ +[\d.]+ ms\. +[\d.e+-]+%\. (\w+)$", printed, re.MULTILINE))
    expect(per_type == set(named), "the types printed are not the net's")
    return f"a line for each of the net's {len(named)} operators, sums for each of {len(per_type)} types"


@case("gen-efficientnet-pytorch/caffe2_validate.py")
def caffe2_validate(shop: Workshop) -> str:
    """Labels are places among all 1000 class folders, most of them empty."""
    images = shop.folder / "images"
    sample = shop.data("data/imagenet-sample")
    for synset in shop.data(SYNSETS).read_text(encoding="utf-8").split():
        (images / synset).mkdir(parents=True)
    for synset in sorted(sample.iterdir())[::20]:
        shutil.copy(sorted(synset.iterdir())[0], images / synset.name)
    checkpoint = shop.data("models/tf_mobilenetv2_100.pth")
    export("mobilenetv2_100", ExportOptions(checkpoint=checkpoint, img_size=160)).save(shop.folder / "net.onnx")
    convert(onnx.load(shop.folder / "net.onnx")).save(shop.folder / "c2")
    settings = ["--mean", ".5", "--std", ".5", "--img-size", "160", "--interpolation", "bilinear", "-b", "5", "-j", "0"]
    script = shop.clone("rwightman/gen-efficientnet-pytorch") / "caffe2_validate.py"
    printed = shop.run(script, images, "--c2-prefix", shop.folder / "c2", *settings, path=[STAND_INS])
    top1, top5 = map(float, re.findall(r"\* Prec@1 (\S+) .* Prec@5 (\S+) ", printed)[0])
    options = ValidateOptions(mean=(0.5,) * 3, std=(0.5,) * 3, img_size=160, interpolation="bilinear", crop_pct=0.875)
    ours = validate(images, str(shop.folder / "c2.predict.pb"), options)
    expect((top1, top5) == (round(ours.top1, 3), round(ours.top5, 3)), f"{top1}, {top5}: ours {ours.top1}, {ours.top5}")
    return f"top-1 {top1} and top-5 {top5} of {ours.n} images, as `caffe2-mobile validate`; torchvision stood in for"


# --------------------------------------------------------------------------------------------- latency


def save_as_model(net: Net, folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.pb").write_bytes(net.predict.SerializeToString())
    (folder / "model_init.pb").write_bytes(net.init.SerializeToString())
    return folder


def get_runtime(shop: Workshop, *arguments: Path | str) -> str:
    code = shop.clone("facebookresearch/mobile-vision") / "runtime_lut"
    return shop.run(code / "scripts/get_runtime.py", *arguments, path=[code / "code"])


@case("mobile-vision/get_runtime.py")
def runtime_of_recorded_net(shop: Workshop) -> str:
    folder = save_as_model(load_net(shop.data("models/mobilenet_v1_0.5_160_quant")), shop.folder / "net")
    table = shop.data("lut/peer")
    printed = get_runtime(shop, "--model_path", folder, "--db_dir", table)
    expect(
        printed == (table / "expected_stdout.txt").read_text(encoding="utf-8"), "it prints other lines than with Caffe2"
    )
    return "every line, as it printed them with Caffe2 (MobileNetV1 int8, Samsung S8)"


@case("mobile-vision/get_runtime.py of published nets")
def runtime_of_published_nets(shop: Workshop) -> str:
    device = "x86_64-avx512-caffe2_1.8.1-1t"
    table = shop.data(f"lut/{device}-op_lut_database.json").parent
    sums = []
    for name in ("ChamNet-A/int8", "FBNet-C/int8"):
        net = published_net(name)
        folder = save_as_model(net, shop.folder / name.replace("/", "-"))
        dims = f'{{"data": {list(net.input_shapes()["data"])}}}'
        printed = get_runtime(shop, "--model_path", folder, "--db_dir", table, "--device", device, "--input_dims", dims)
        total = float(re.findall(r"latency is (\S+)", printed)[0])
        ours = latency(name, LatencyOptions(db_dir=table, device=device))
        expect(f"table? {ours.all_found}" in printed, f"{name}: all found: ours {ours.all_found}")
        expect(np.isclose(total, ours.total_us, rtol=1e-12), f"{name}: {total} µs, ours {ours.total_us}")
        sums.append(f"{name} {total:.0f} µs")
    return f"the sum: {', '.join(sums)}, as `caffe2-mobile latency`"


# ------------------------------------------------------------------------------------------- detection

DETECTION = [
    "mask_rcnn_2go_int8_2",
    "mask_rcnn_2go_fp32_1",
    "mask_rcnn_2go_int8_1_nothing_found",
    "faster_rcnn_r50_c4_1",
]


# Of this net's scores some differ by less than float's rounding, which decides the order of its boxes.
BY_CHANCE = "mask_rcnn_2go_fp32_1"


@case("detectron2/export/caffe2_inference.py and shared.py")
def detectron2(shop: Workshop) -> str:
    source = shop.clone("facebookresearch/detectron2") / "detectron2"
    maker = load_module(shop.data("checks/wild_nets.py"))
    for name in DETECTION:
        recorded = shop.data(f"golden/wild_nets/{name}")
        folder = shop.folder / name
        feeds = maker.write(recorded, folder)
        np.savez(shop.folder / "feeds.npz", **feeds)
        files = [folder / "predict.pb", folder / "init.pb", shop.folder / "feeds.npz", folder / "out.npz"]
        shop.run(DRIVERS / "detectron2_model.py", source, *files)
        got, expected = np.load(folder / "out.npz"), dict(np.load(recorded / "expected.npz"))
        if name == BY_CHANCE:
            ours = load_net(folder).session().run(feeds, got.files)
            expected = {f"out:{blob}": value for blob, value in ours.items()}
        for blob in got.files:
            value, wanted = got[blob], expected[f"out:{blob}"]
            expect(value.shape == wanted.shape, f"{name}, {blob}: shape {value.shape}; {wanted.shape} expected")
            largest = max(1.0, float(np.abs(wanted).max(initial=0)))  # boxes are in pixels
            expect(np.allclose(value, wanted, rtol=1e-4, atol=1e-4 * largest), f"{name}, {blob}: other values")
    names = ", ".join(name for name in DETECTION if name != BY_CHANCE)
    return f"outputs of {names}: Caffe2 1.8.1's; of {BY_CHANCE} the session's; detectron2's other modules are left out"


def load_module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SSD = {
    "mb1-ssd": ("mobilenetv1_ssd", "create_mobilenetv1_ssd"),
    "mb1-ssd-lite": ("mobilenetv1_ssd_lite", "create_mobilenetv1_ssd_lite"),
    "mb2-ssd-lite": ("mobilenet_v2_ssd_lite", "create_mobilenetv2_ssd_lite"),
    "sq-ssd-lite": ("squeezenet_ssd_lite", "create_squeezenet_ssd_lite"),
}
CLASSES = 6


def save_ssd(shop: Workshop, kind: str, *files: str) -> list[Path]:
    """A checkpoint, and the model as ONNX where a second file is named; what goes on PYTHONPATH for the scripts."""
    source = shop.clone("qfgaohao/pytorch-ssd")
    path = [STAND_INS, shop.packages(), source]
    (shop.folder / "labels.txt").write_text("\n".join(f"class{number}" for number in range(CLASSES)), encoding="utf-8")
    shop.run(DRIVERS / "save_ssd.py", *SSD[kind], str(CLASSES), *files, path=path)
    return path


def convert_ssd(kind: str) -> Case:
    def run(shop: Workshop) -> str:
        path = save_ssd(shop, kind, "checkpoint.pth")
        models = shop.folder / "models"
        models.mkdir()
        shop.run(path[-1] / "convert_to_caffe2_models.py", kind, "checkpoint.pth", "labels.txt", path=path)
        predict, init = models / f"{kind}_predict_net.pb", models / f"{kind}_init_net.pb"
        compared = compare_conversion(onnx.load(models / f"{kind}.onnx"), predict, init)
        as_text = load_net(predict.with_suffix(".pbtxt"), init.with_suffix(".pbtxt"))
        expect(as_text.predict == load_net(predict, init).predict, "the text files hold another net")
        return f"{compared}; the text files hold the same net; torchvision stood in for"

    return run


for _kind in SSD:
    case(f"pytorch-ssd/convert_to_caffe2_models.py {_kind}")(convert_ssd(_kind))


@case("pytorch-ssd/run_ssd_live_caffe2.py")
def run_ssd_live(shop: Workshop) -> str:
    """The script calls the net's input "0", as PyTorch did when it was written."""
    path = save_ssd(shop, "mb2-ssd-lite", "checkpoint.pth", "net.onnx")
    convert(with_input_named(onnx.load(shop.folder / "net.onnx"), "0")).save(shop.folder / "c2")
    image = path[-1] / "vision/test/assets/000138.jpg"
    shown = shop.folder / "shown.png"
    files = ["c2.init.pb", "c2.predict.pb", "labels.txt", image]
    printed = shop.run(path[-1] / "run_ssd_live_caffe2.py", *files, path=path, environment={"SHOWN": str(shown)})
    found = int(re.findall(r"Detect Objects: (\d+)", printed)[0])
    expected = int(shop.run(DRIVERS / "count_detections.py", "c2", image, path=path))
    expect(found == expected, f"{found} objects; ours {expected}")
    expect(shown.exists() and shown.stat().st_size, "no frame was shown")
    return f"{found} objects, as with our session's scores and boxes; the window is stood in for"


def with_input_named(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    entry = model.graph.input[0]
    for node in model.graph.node:
        node.input[:] = [name if blob == entry.name else blob for blob in node.input]
    entry.name = name
    return model


# ------------------------------------------------------------------------------------------- tutorials


@case("tutorials/Loading_Pretrained_Models.ipynb")
def loading_pretrained_models(shop: Workshop) -> str:
    """All its cells, on a SqueezeNet where it looks for one."""
    source = shop.clone("facebookarchive/tutorials")
    net = load_net(shop.data("models/squeezenet_trafficlight"))
    home = shop.folder / "caffe2/caffe2/python/models/squeezenet"
    home.mkdir(parents=True)
    (home / "init_net.pb").write_bytes(net.init.SerializeToString())
    (home / "predict_net.pb").write_bytes(net.predict.SerializeToString())
    names = shop.data("data/imagenet_class_names.txt").read_text(encoding="utf-8").splitlines()
    (shop.folder / "codes").write_text(
        "".join(f"{place}: '{name}',\n" for place, name in enumerate(names)), encoding="utf-8"
    )
    own_images(shop)
    script = shop.folder / "script.py"
    end = "np.savez('out.npz', batch=NCHW_batch.astype(np.float32), preds=preds)"
    script.write_text(
        script_of(source / "Loading_Pretrained_Models.ipynb", [1, 3, 5, 7, 9, 11, 13], after=end), encoding="utf-8"
    )
    environment = {"HOME": str(shop.folder), "OPENED": str(shop.folder / "codes")}
    shop.run(script, path=[STAND_INS, shop.packages()], environment=environment)
    out = np.load(shop.folder / "out.npz")
    ours = np.squeeze(net.session().run({"data": out["batch"]})[net.outputs[0]])
    expect(np.array_equal(out["preds"], ours), "the predictions are not the session's")
    return "predictions of its seven images equal the session's; images of our own, urllib2 stood in for"


def own_images(shop: Workshop) -> None:
    """Images under the names that the tutorial reads."""
    names = ["flower", "cowboy-hat", "cell-tower", "Ducreux", "pretzel", "orangutan", "aircraft-carrier", "cat"]
    (shop.folder / "images").mkdir()
    for name, folder in zip(names, sorted(shop.data("data/imagenet-sample").iterdir())[::50], strict=False):
        shutil.copy(sorted(folder.iterdir())[0], shop.folder / "images" / f"{name}.jpg")


BASICS_DRAWN = 46  # the cell that draws the net with Graphviz, and shows it in IPython


@case("tutorials/Basics.ipynb")
def basics(shop: Workshop) -> str:
    source = shop.clone("facebookarchive/tutorials")
    cells = [1, *range(4, 31, 2), *range(34, 45, 2), 48, 50, 52]
    end = "np.savez('out.npz', **{name: workspace.FetchBlob(name) for name in workspace.Blobs()})"
    (shop.folder / "script.py").write_text(script_of(source / "Basics.ipynb", cells, after=end), encoding="utf-8")
    printed = shop.run("script.py")
    out = np.load(shop.folder / "out.npz")
    expect(sorted(out.files) == ["W", "X", "Y", "b"], f"blobs {out.files}")
    expect(np.allclose(out["Y"], out["X"] @ out["W"].T + out["b"], atol=1e-5), "Y is not X W' + b")
    expect("Can't find blob: invincible_pink_unicorn" in printed, "the error of a blob that is not there is another")
    return f"all cells but that which draws ({BASICS_DRAWN}: Graphviz); Y = X W' + b; the error it shows"


@case("tutorials/MNIST.ipynb")
def mnist(shop: Workshop) -> str:
    """Its cells that train and read LMDB are replaced by parameters from the net's own initialization."""
    source = shop.clone("facebookarchive/tutorials")
    notebook = source / "MNIST.ipynb"
    start = """
root_folder = "."
arg_scope = {"order": "NCHW"}
train_model = model_helper.ModelHelper(name="mnist_train", arg_scope=arg_scope)
AddModel(train_model, "data")
workspace.RunNetOnce(train_model.param_init_net)
workspace.FeedBlob("data", np.random.RandomState(0).rand(2, 1, 28, 28).astype(np.float32))
deploy_model = model_helper.ModelHelper(name="mnist_deploy", arg_scope=arg_scope, init_params=False)
AddModel(deploy_model, "data")
workspace.RunNetOnce(deploy_model.net)
"""
    end = """
np.savez("out.npz", softmax=softmax, **{name: workspace.FetchBlob(name) for name in ["data", *pe_meta.parameters]})
open("predict.pb", "wb").write(deploy_model.net.Proto().SerializeToString())
"""
    script = script_of(notebook, [1, 8, 10, 12, 26, 36, 38], {26: start}, end)
    (shop.folder / "script.py").write_text(script, encoding="utf-8")
    shop.run("script.py")
    out = dict(np.load(shop.folder / "out.npz"))
    softmax, data = out.pop("softmax"), out.pop("data")
    predict = caffe2_pb2.NetDef.FromString((shop.folder / "predict.pb").read_bytes())
    ours = Net(predict, make_init(out)).session().run({"data": data}, ["softmax"])["softmax"]
    expect(np.array_equal(softmax, ours), "softmax is not the session's")
    return "softmax equals the session's, from the file that the tutorial saves; cells that train are left out"
