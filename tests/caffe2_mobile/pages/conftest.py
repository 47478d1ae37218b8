"""A small float net with its int8 form, images, and the browser that pages are opened in."""

import shutil

import numpy as np
import pytest
from PIL import Image

from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile import QuantizeOptions, ViewOptions, quantize, view
from caffe2_models import Net
from caffe2_models.build import add_operator, make_init
from caffe2_models.preprocessing import set_preprocessing
from caffe2_models.proto import caffe2_pb2

EVIL = "</script><img src=x onerror=document.title='broken'>\"'&"
SIZE, CLASSES = 32, 4


def small_net() -> Net:
    """A stem, a depthwise block with a shortcut whose names are evil, a classifier; one channel is dead."""
    rng = np.random.default_rng(0)
    predict = caffe2_pb2.NetDef(name=f"small {EVIL}", external_input=["data"], external_output=["scores"])
    parameters = {}

    def layer(kind: str, x: str, y: str, shape: tuple[int, ...], **arguments) -> None:
        parameters[f"{y}_w"] = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        parameters[f"{y}_b"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
        predict.external_input.extend([f"{y}_w", f"{y}_b"])
        add_operator(predict, kind, [x, f"{y}_w", f"{y}_b"], [y], **arguments)

    layer("Conv", "data", "stem", (8, 3, 3, 3), kernel=3, pad=1, stride=2)
    parameters["stem_w"][2], parameters["stem_b"][2] = 0, -1
    add_operator(predict, "Relu", ["stem"], ["stem_relu"])
    layer("Conv", "stem_relu", "block.0.dw", (8, 1, 3, 3), kernel=3, pad=1, group=8)
    add_operator(predict, "Relu", ["block.0.dw"], [f"block.0.{EVIL}"])
    layer("Conv", f"block.0.{EVIL}", "block.0.pwl", (8, 8, 1, 1), kernel=1)
    add_operator(predict, "Sum", ["block.0.pwl", "stem_relu"], ["block.0.sum"])
    add_operator(predict, "AveragePool", ["block.0.sum"], ["pool"], global_pooling=1)
    layer("FC", "pool", "scores", (CLASSES, 8))
    set_preprocessing(predict, Preprocessing(size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0))
    return Net(predict, make_init(parameters))


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Forty, in a folder for each class."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(1)
    for number in range(40):
        path = folder / "abcd"[number % CLASSES] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BILINEAR).save(path)
    return folder


@pytest.fixture(scope="session")
def pair(images):
    """(float net, int8 net)"""
    net = small_net()
    return net, quantize(net, images, QuantizeOptions(recipe="fast", calibration_images=8)).net


@pytest.fixture(scope="session")
def result(pair, images):
    """All that there is to see of the pair."""
    return view(*pair, ViewOptions(images=images, runs=1))


@pytest.fixture(scope="session")
def thousand():
    """What there is to see of 1,000 operators: 250 blocks with shortcuts."""
    predict = caffe2_pb2.NetDef(name="thousand", external_input=["data", "w", "b"])
    x = "data"
    for number in range(250):
        name = f"stage{number // 50}.{number}"
        add_operator(predict, "Conv", [x, "w", "b"], [f"{name}.conv0"], kernel=1)
        add_operator(predict, "Relu", [f"{name}.conv0"], [f"{name}.relu"])
        add_operator(predict, "Conv", [f"{name}.relu", "w", "b"], [f"{name}.conv1"], kernel=1)
        add_operator(predict, "Sum", [x, f"{name}.conv1"], [f"{name}.sum"])
        x = f"{name}.sum"
    predict.external_output.append(x)
    set_preprocessing(predict, Preprocessing(size=8))
    weights = {"w": np.full((3, 3, 1, 1), 0.1, np.float32), "b": np.zeros(3, np.float32)}
    return view(Net(predict, make_init(weights)), options=ViewOptions(runs=0))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (the extra `dev`)")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver here (Debian's chromium and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    switches = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
                "disable-background-networking", "disable-component-update", "disable-sync",
                f"user-data-dir={profile}")  # fmt: skip
    for switch in switches:
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()
