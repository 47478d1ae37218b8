"""Convolutions."""

from exporters.layers import Unsupported
from exporters.onnx_to_caffe2.operators.window import Window, on_lines
from exporters.onnx_to_caffe2.registry import converts


@converts("Conv")
@on_lines
def conv(node, x, weight, bias=None, *, kernel_shape=None, strides=None, pads=None, dilations=None, group=1,
         auto_pad="NOTSET"):  # fmt: skip
    window = Window.of(x, node.output, weight.shape[2:], strides, pads, dilations, auto_pad)
    return node.add("Conv", [x, weight, bias], **window.arguments(group))


@converts("ConvTranspose")
@on_lines
def conv_transpose(node, x, weight, bias=None, *, kernel_shape=None, strides=None, pads=None,
dilations=None, group=1,
                   output_padding=None, output_shape=None, auto_pad="NOTSET"):  # fmt: skip
    if any(dilation != 1 for dilation in dilations or ()):
        raise Unsupported("dilations other than 1")
    adjust = tuple(output_padding or (0, 0))
    window = Window.of(x, node.output, weight.shape[2:], strides, pads, None)
    if output_shape is not None or auto_pad.startswith("SAME"):
        window, adjust = _cropped_to(node.output.shape[2:], x.shape[2:], window, adjust, auto_pad)
    arguments = window.arguments(group)
    if adjust != (0, 0):
        arguments |= {"adj": adjust[0]} if adjust[0] == adjust[1] else {"adj_h": adjust[0], "adj_w": adjust[1]}
    return node.add("ConvTranspose", [x, weight, bias], **arguments)


def _cropped_to(wanted, size, window: Window, adjust, auto_pad: str) -> tuple[Window, tuple[int, int]]:
    """The padding, and the adjustment, that give the wanted output size.

    ONNX's ConvTranspose: the odd pad goes below for SAME_UPPER.
    """
    full = [s * (n - 1) + a + k for s, n, a, k in zip(window.strides, size, adjust, window.kernel, strict=True)]
    totals = [max(0, have - want) for have, want in zip(full, wanted, strict=True)]
    begins = [total // 2 if auto_pad == "SAME_UPPER" else total - total // 2 for total in totals]
    ends = [total - begin for total, begin in zip(totals, begins, strict=True)]
    missing = [max(0, want - have) for have, want in zip(full, wanted, strict=True)]
    adjust = tuple(have + more for have, more in zip(adjust, missing, strict=True))
    return Window(window.kernel, window.strides, (*begins, *ends), window.dilations), adjust
