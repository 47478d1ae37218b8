"""int8 TorchScript for QNNPACK: the published files, and files made from the zoo's own models.

quantize() is torch's FX graph mode with per-tensor scales; convs, linear layers, residual adds, ReLU, ReLU6,
hard swish and hard sigmoid become int8. What torch has no int8 kernel for (swish, softmax) stays float
between a dequantize and a quantize.
"""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from caffe2_common.errors import ModelError
from caffe2_common.files import open_atomically
from mobile_cv.model_zoo.count import count
from mobile_cv.model_zoo.layers import with_fixed_padding
from mobile_cv.model_zoo.pretrained import WEIGHTS, download
from mobile_cv.model_zoo.registry import get_architecture

ENGINE = "qnnpack"
FACTS = "model.json"  # in our own archives: default_cfg and param_count
# Published file -> the model it was made of.
PUBLISHED = {f"fbnet_{letter}_i8f_int8_jit": f"fbnet_{letter}_i8f" for letter in "abc"}


def load_int8(name: str | Path, progress: bool | None = None) -> torch.jit.ScriptModule:
    """An int8 TorchScript module by its published name (fbnet_a_i8f_int8_jit ...) or from a file.

    It maps (N, 3, size, size) float32 to logits, and carries default_cfg as the zoo's models do, and
    param_count; None and 0 where a file tells neither. Sets torch's quantized engine to QNNPACK, without
    which it does not run. Raises ModelError where the file cannot be had or read.
    """
    published = PUBLISHED.get(str(name))
    path = download(WEIGHTS[str(name)]["url"], progress=progress) if published else Path(name)
    if not path.is_file():
        raise ModelError(f"{name}: neither a file nor one of {', '.join(PUBLISHED)}")
    _use_engine()
    extra = {FACTS: ""}
    try:
        with _quiet():
            model = torch.jit.load(str(path), map_location="cpu", _extra_files=extra).eval()
        facts = json.loads(extra[FACTS] or "{}")
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: no TorchScript file ({str(error).splitlines()[0]})") from None
    if published:
        architecture = get_architecture(published)
        facts = {"default_cfg": architecture.preprocessing, "param_count": count(architecture).parameters}
    elif facts:
        values = facts["default_cfg"].items()
        facts["default_cfg"] = {key: tuple(v) if isinstance(v, list) else v for key, v in values}
    model.default_cfg, model.param_count = facts.get("default_cfg"), facts.get("param_count", 0)
    return model


def quantize(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """A model of the zoo in int8 for QNNPACK, with scales calibrated on batches (N, C, H, W) of images.

    Raises ModelError where QNNPACK cannot hold the ranges that it saw.
    """
    with _quiet():
        from torch.ao import quantization
        from torch.ao.quantization import quantize_fx

        _use_engine()
        # torch's default makes weights symmetric, which costs a MobileNet half of its accuracy; QNNPACK's
        # weights have a zero point, as Caffe2's have.
        mapping = quantization.get_default_qconfig_mapping(ENGINE)
        activations = quantization.HistogramObserver.with_args(dtype=torch.quint8)
        weights = quantization.MinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_tensor_affine)
        mapping.set_global(quantization.QConfig(activations, weights))
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            raise ModelError("no images to calibrate the quantization with")
        plain = with_fixed_padding(model, first)
        clipped = _take_out_relu6(plain)
        prepared = quantize_fx.prepare_fx(plain, mapping, (first,))
        _clip_observers(prepared, clipped)
        with torch.inference_mode():
            prepared(first)
            for batch in batches:
                prepared(batch)
        quantized = quantize_fx.convert_fx(prepared)
        try:
            with torch.inference_mode():
                quantized(first)
        except RuntimeError as error:
            raise ModelError(
                f"{getattr(model, 'name', 'the model')}: QNNPACK cannot run it with the ranges that the "
                f"images gave ({str(error).splitlines()[0]}); are its weights trained ones?"
            ) from None
    quantized.default_cfg = model.default_cfg
    quantized.param_count = sum(parameter.numel() for parameter in model.parameters())
    quantized.example = torch.zeros_like(first[:1])
    return quantized


def save_int8(quantized: nn.Module, path: str | Path) -> None:
    """Write what quantize() gave as one TorchScript file, which load_int8 and torch.jit.load read."""
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(quantized, quantized.example)
        facts = {"default_cfg": quantized.default_cfg, "param_count": quantized.param_count}
        with open_atomically(path) as file:
            torch.jit.save(traced, file, _extra_files={FACTS: json.dumps(facts)})


# torch's QNNPACK clamp is wrong for channels-last tensors, which convs give (torch 2.13: off by up to 6), and
# it would cost each conv the range above 6. So ReLU6 becomes ReLU, which is fused into the conv, and the
# conv's range ends at 6, where uint8 saturates.


def _take_out_relu6(model: nn.Module) -> set[str]:
    """Make every ReLU6 of a model a ReLU; returns the names of the convs that they follow."""
    graph, modules, convs = fx.symbolic_trace(model).graph, dict(model.named_modules()), set()
    for node in graph.nodes:
        if not isinstance(modules.get(node.target), nn.ReLU6):
            continue
        source = node.args[0]
        while isinstance(modules.get(source.target), nn.BatchNorm2d):
            source = source.args[0]
        if not isinstance(modules.get(source.target), nn.Conv2d):
            raise ModelError(f"{node.target}: only a ReLU6 right after a conv and its BN can be quantized")
        convs.add(source.target)
        model.set_submodule(node.target, nn.ReLU().eval())
    return convs


def _clip_observers(prepared: nn.Module, convs: set[str]) -> None:
    """Let the observers of those convs clip to 6 what they see and pass on, as the ReLU6 did."""
    modules = dict(prepared.named_modules())
    for node in prepared.graph.nodes:
        if node.op == "call_module" and node.args and getattr(node.args[0], "target", None) in convs:
            modules[node.target].register_forward_pre_hook(lambda _, inputs: (inputs[0].clamp(max=6.0),))


def _use_engine() -> None:
    if ENGINE not in torch.backends.quantized.supported_engines:
        raise ModelError(f"this build of torch has no {ENGINE}; int8 TorchScript needs one that has")
    torch.backends.quantized.engine = ENGINE


class _quiet(warnings.catch_warnings):
    """Without torch's announcements that its quantization will move to another package."""

    def __enter__(self):
        super().__enter__()
        warnings.simplefilter("ignore")
