"""PyTorch modules to ONNX, by both of torch's exporters, and on to Caffe2."""

import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile.api.export import ExportOptions, export
from caffe2_models.preprocessing import get_preprocessing
from exporters import torch_to_onnx
from exporters.onnx_files import get_onnx_preprocessing, graph_inputs, set_onnx_preprocessing
from exporters.onnx_to_caffe2 import convert
from exporters.verification import compare, make_samples, run_net, run_onnx

pytestmark = pytest.mark.usefixtures("one_thread")


class Classifier(nn.Module):
    """What mobile classifiers are made of: BN to fold, a residual, SE, activations, pooling, a view."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        self.reduce, self.expand = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.acts = nn.Sequential(nn.SiLU(), nn.PReLU(8), nn.LeakyReLU(0.2), nn.ELU(0.5), nn.Hardsigmoid())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop, self.classifier = nn.Dropout(0.2), nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.depthwise(x)
        gate = torch.sigmoid(self.expand(functional.relu(self.reduce(y.mean((2, 3), keepdim=True)))))
        x = self.acts(x + y * gate)
        x = self.pool(x)
        return self.classifier(self.drop(x.view(x.size(0), -1)))


class Shuffle(nn.Module):
    """A ShuffleNet unit, written with sizes taken from the tensor."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 3, 1, 1, groups=4)

    def forward(self, x):
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        count, channels, height, width = x.size()
        x = x.view(count, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        return x.view(count, channels, height, width)


class Dense(nn.Module):
    """Down and up again: pooling that rounds up, resizing, transposed convolution, slices, Concat."""

    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv, self.up = nn.Conv2d(3, 6, 3, 1, 1), nn.ConvTranspose2d(6, 4, 2, 2)
        self.last = nn.Conv2d(13, 12, 1)

    def forward(self, x):
        small = self.conv(self.pool(x))
        nearest = functional.interpolate(small, scale_factor=2, mode="nearest")
        y = torch.cat([x[..., 1:, 1:], nearest[:, :, :-1, 1:], self.up(small)[:, :, 1:, 1:]], 1)
        return functional.pixel_shuffle(torch.softmax(self.last(y), 1), 2)


MODULES = {"classifier": Classifier, "shuffle": Shuffle, "dense": Dense}
NEWEST = torch_to_onnx.newest_opset()
WAYS = [("torchscript", opset) for opset in (9, 11, 13, 17, 20, NEWEST)] + [("dynamo", NEWEST)]
SHAPE = (2, 3, 16, 16)


@pytest.fixture(scope="module", params=MODULES)
def module(request):
    torch.manual_seed(1)
    module = MODULES[request.param]().eval()
    torch_to_onnx.randomize_statistics(module, make_samples({"data": SHAPE}, None))
    return module


@pytest.mark.parametrize(("exporter", "opset"), WAYS)
def test_every_form_computes_the_same(module, exporter, opset):
    model = torch_to_onnx.export(module, SHAPE, opset=opset, exporter=exporter)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.version for entry in model.opset_import if entry.domain == ""} == {opset}
    net = convert(model)
    for batch in (1, 3):  # the batch was left free
        samples = make_samples({"data": (batch, *SHAPE[1:])}, None)
        expected = torch_to_onnx.run(module, samples)
        for outputs in (run_onnx(model, samples), run_net(net, samples)):
            assert all(compare("", *triple).holds for triple in zip(samples, expected, outputs, strict=True))


def test_preprocessing_and_names_are_carried():
    preprocessing = Preprocessing(size=16, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), channel_order="BGR")
    model = torch_to_onnx.export(Classifier(), SHAPE, preprocessing=preprocessing, name="small")
    assert get_onnx_preprocessing(model) == preprocessing
    net = convert(model)
    assert get_preprocessing(net.predict) == preprocessing
    assert (net.name, net.inputs, net.outputs) == ("small", ["data"], ["output"])
    first = net.predict.op[0]
    assert list(first.input) == ["data", "stem.0_w", "stem.0_b"]
    assert list(first.output) == ["stem.0"]


def test_a_rectangle_is_kept_all_the_way():
    """A size that the ONNX file fixes stands in the net, so that no later command needs a flag."""
    result = export("fbnet_a", ExportOptions(random_weights=True, num_classes=3, img_size=(40, 72)))
    assert result.holds and get_onnx_preprocessing(result.model).size == (40, 72)
    net = convert(result.model)
    assert net.input_shapes() == {"data": (1, 3, 40, 72)} and get_preprocessing(net.predict).size == (40, 72)


def test_fixed_batch_and_keep_init():
    model = torch_to_onnx.export(Classifier(), SHAPE, dynamic_batch=False, keep_init=True)
    assert len(model.graph.input) > 1
    (data,) = graph_inputs(model.graph)
    assert [dim.dim_value for dim in data.type.tensor_type.shape.dim] == list(SHAPE)
    assert convert(model).inputs == ["data"]


def test_free_size_stays_free():
    module = Classifier().eval()
    model = torch_to_onnx.export(module, SHAPE, dynamic_size=True)
    net = convert(model)
    assert [op.arg[0].name for op in net.predict.op if op.type == "AveragePool"] == ["global_pooling"] * 2
    for size in (16, 23):
        samples = make_samples({"data": (1, 3, size, size + 4)}, None)
        triples = zip(samples, torch_to_onnx.run(module, samples), run_net(net, samples), strict=True)
        assert all(compare("", *triple).holds for triple in triples)
    set_onnx_preprocessing(model, Preprocessing(size=224))
    fixed = convert(model, size=16)
    assert get_preprocessing(fixed.predict).size == 16
    assert [op.arg[0].name for op in fixed.predict.op if op.type == "AveragePool"] == ["kernel"] * 2


def test_random_batch_norm_statistics_matter():
    """The comparisons above would not see BatchNorm left out, were its statistics those of a new module."""
    module = Classifier().eval()
    samples = make_samples({"data": SHAPE}, None)
    before = torch_to_onnx.run(module, samples)
    torch_to_onnx.randomize_statistics(module, samples)
    after = torch_to_onnx.run(module, samples)
    assert not compare("", samples[0], before[0], after[0], tolerance=0.01).holds


class Shared(nn.Module):
    """Weights that several layers read, equal biases, and a convolution read by two BatchNorms."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = (nn.Conv2d(3, 3, 3, 1, 1) for _ in range(3))
        self.second.weight = self.first.weight
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))

    def forward(self, x):
        x = self.norms[0](self.first(x))
        x = self.norms[1](self.second(x)) + self.norms[1](self.first(x))
        x = self.last(x)
        return self.norms[2](x) * self.norms[3](x)


class Standardized(nn.Conv2d):
    """Its weight is computed from a parameter, by arithmetic that is in the graph."""

    def forward(self, x):
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std()
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("make", [Shared, lambda: nn.Sequential(Standardized(3, 4, 3), nn.BatchNorm2d(4))])
def test_weights_shared_and_computed(make, exporter):
    torch.manual_seed(2)
    module = make().eval()
    samples = make_samples({"data": SHAPE}, None)
    for convolution in (layer for layer in module.modules() if isinstance(layer, nn.Conv2d)):
        nn.init.zeros_(convolution.bias)  # equal weights become one in TorchScript's exporter
    torch_to_onnx.randomize_statistics(module, samples)
    model = torch_to_onnx.export(module, SHAPE, exporter=exporter)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["data"]
    expected = torch_to_onnx.run(module, samples)
    for outputs in (run_onnx(model, samples), run_net(convert(model), samples)):
        assert all(compare("", *triple).holds for triple in zip(samples, expected, outputs, strict=True))


def test_batch_norm_is_folded_and_weights_are_called_after_the_modules():
    model = torch_to_onnx.export(Classifier(), SHAPE)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert {"stem.0.weight", "stem.0.bias", "classifier.weight"} <= {t.name for t in model.graph.initializer}


class Unexportable(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x[:, 0])


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Classifier, {"opset": 8}, "opset 8: choose from 9 to"),
        (Classifier, {"opset": 99}, "opset 99: choose from 9 to"),
        (Classifier, {"exporter": "magic"}, "'magic' is none of"),
        (Classifier, {"exporter": "dynamo", "opset": 13}, "dynamo: begins at opset 18"),
        (Unexportable, {"exporter": "torchscript"}, "torch cannot export the model at opset 17 .*svd"),
    ],
)
def test_what_cannot_be_is_one_line(module, options, message, capfd):
    with pytest.raises(ModelError, match=message) as error:
        torch_to_onnx.export(module(), SHAPE, **options)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
