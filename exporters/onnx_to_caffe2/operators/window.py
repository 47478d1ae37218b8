"""Kernel, stride, padding and dilation of convolutions and poolings, in both tongues."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.layers.graph import Shape
from exporters.onnx_to_caffe2.registry import Node

# What a line has in the height that it is given: attributes of windows, by their neutral values.
OF_HEIGHT = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0, "output_shape": 1}


def on_lines(convert: Callable) -> Callable:
    """A conversion of windows over maps, for lines [N, C, L] too: they are maps of one row."""

    @functools.wraps(convert)
    def wrapper(node: Node, x: Blob, *others: Blob | None, **attributes):
        if x.rank != 3:
            return convert(node, x, *others, **attributes)
        outputs = [Blob(y.shapes_with(_of_map)) if y.known_shapes else Blob() for y in node.outputs]
        for name, neutral in OF_HEIGHT.items():
            if attributes.get(name) is not None:
                attributes[name] = [neutral, *attributes[name][-1:]]
        if attributes.get("pads") is not None:
            begin, end = attributes["pads"]
            attributes["pads"] = [0, begin, 0, end]
        lifted = [blob if blob is None or blob.rank != 3 else _as_map(node, blob) for blob in (x, *others)]
        results = convert(dataclasses.replace(node, outputs=outputs), *lifted, **attributes)
        results = results if isinstance(results, list) else [results]
        return [node.add("Squeeze", [y], dims=[2]) for y in results]

    return wrapper


def _of_map(line: Shape) -> Shape:
    return (*line[:2], 1, *line[2:])


def _as_map(node: Node, x: Blob) -> Blob:
    return node.constant(np.expand_dims(x.value, 2)) if x.is_constant else node.add("ExpandDims", [x], dims=[2])


@dataclass(frozen=True)
class Window:
    """A sliding window over height and width, or over depth too. pads are those before each dimension, then behind."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    @classmethod
    def of(cls, x: Blob, y: Blob, kernel, strides, pads, dilations, auto_pad: str = "NOTSET", ceil_mode: int = 0):
        """The window of an ONNX node from x to y, its padding made explicit.

        SAME padding and ceil_mode depend on the input's size, which must then be fixed.
        """
        dims = len(kernel)
        if dims not in (2, 3):
            raise Unsupported(f"{dims}-dimensional windows; Caffe2's kernels have 1 to 3 dimensions")
        strides, dilations = tuple(strides or (1,) * dims), tuple(dilations or (1,) * dims)
        window = cls(tuple(kernel), strides, tuple(pads or (0,) * 2 * dims), dilations)
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            return window._same(x, y, upper=auto_pad == "SAME_UPPER")
        if auto_pad == "VALID":
            return window.padded((0,) * 2 * dims)
        return window._ceil(x, y) if ceil_mode else window

    @property
    def dims(self) -> int:
        return len(self.kernel)

    @property
    def begins(self) -> tuple[int, ...]:
        return self.pads[: self.dims]

    @property
    def ends(self) -> tuple[int, ...]:
        return self.pads[self.dims :]

    @property
    def is_dilated(self) -> bool:
        return any(dilation != 1 for dilation in self.dilations)

    @property
    def extent(self) -> tuple[int, ...]:
        """Height and width that the window covers."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def arguments(self, group: int | None = None) -> dict:
        """Caffe2's arguments in the published nets' order; sides that are equal are given once."""
        groups = {"group": group} if group is not None and group != 1 else {}
        if self.dims != 2:
            lists = {"kernels": self.kernel, "strides": self.strides, "pads": self.pads, "dilations": self.dilations}
            return {name: list(values) for name, values in lists.items()} | groups
        top, left, bottom, right = self.pads
        arguments = _pair("kernel", self.kernel) | groups | _pair("stride", self.strides)
        if top == left == bottom == right:
            arguments["pad"] = top
        else:
            arguments |= {"pad_t": top, "pad_l": left, "pad_b": bottom, "pad_r": right}
        return arguments | (_pair("dilation", self.dilations) if self.is_dilated else {})

    def padded(self, pads: Sequence[int]) -> "Window":
        """The same with other pads."""
        return dataclasses.replace(self, pads=tuple(pads))

    def places(self, x: Blob) -> list[np.ndarray]:
        """For each dimension of a map of fixed size, [outputs, kernel]: the pixels that are seen; some are padding."""
        seen = []
        for axis in range(self.dims):
            size = x.fixed_dim(2 + axis) + self.begins[axis] + self.ends[axis]
            starts = np.arange(0, size - self.extent[axis] + 1, self.strides[axis]) - self.begins[axis]
            seen.append(starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis])
        return seen

    def _same(self, x: Blob, y: Blob, upper: bool) -> "Window":
        """TensorFlow's padding: the output has ceil(input / stride) rows, the odd pad goes below (upper) or
        above.
        """
        first, second = (self._totals(x, y, variant) for variant in (0, 1))
        if first != second:
            raise Unsupported("SAME padding depends on the input's size; fix it with --img-size")
        begins = [total // 2 if upper else total - total // 2 for total in first]
        return self.padded(begins + [total - begin for total, begin in zip(first, begins, strict=True)])

    def _ceil(self, x: Blob, y: Blob) -> "Window":
        """Bottom and right padding that makes a pooling, which rounds down, give the size rounded up.

        Pooling ignores what is padded, so nothing else changes.
        """
        first, second = (self._totals(x, y, variant) for variant in (0, 1))
        ends = [max(total - pad, end) for total, pad, end in zip(first, self.begins, self.ends, strict=True)]
        other = [max(total - pad, end) for total, pad, end in zip(second, self.begins, self.ends, strict=True)]
        if ends != other:
            raise Unsupported("ceil_mode pads by the input's size; fix it with --img-size")
        return self.padded([*self.begins, *ends])

    def _totals(self, x: Blob, y: Blob, variant: int) -> list[int]:
        """Padding of both sides together that gives exactly y's height and width."""
        sizes = zip(x.shapes[variant][2:], y.shapes[variant][2:], self.strides, self.extent, strict=True)
        return [max(0, (out - 1) * stride + extent - size) for size, out, stride, extent in sizes]


def _pair(name: str, values: tuple[int, ...]) -> dict[str, int]:
    height, width = values
    return {name: height} if height == width else {f"{name}_h": height, f"{name}_w": width}
