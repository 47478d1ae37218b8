"""The sliding window of convolutions and pools: its arguments in all spellings, and how it fits an image."""

import math
from dataclasses import dataclass

from caffe2_models.arguments import Arguments
from caffe2_models.errors import ModelError

MAX_EXTENT = 1 << 20

# legacy_pad (caffe2/proto/caffe2_legacy.proto)
EXPLICIT, VALID, SAME, CAFFE_POOLING = 0, 1, 2, 3


@dataclass(frozen=True)
class Fit:
    """A window on an image of known size: (height, width) pairs, and pads (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]
    output: tuple[int, int]

    @property
    def area(self) -> int:
        return self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class Window:
    """Kernel, stride, dilation and pads as an operator's arguments give them."""

    kernel: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    legacy_pad: int = EXPLICIT
    global_pooling: bool = False

    @classmethod
    def decode(cls, arguments: Arguments) -> "Window":
        """From kernel/stride/pad/dilation, their _h _w and _t _l _b _r forms, or lists kernels/strides/pads/dilations."""
        pads = _spelled(arguments, "pads", "pad", ("pad_t", "pad_l", "pad_b", "pad_r")) or (0, 0, 0, 0)
        window = cls(
            kernel=_pair(arguments, "kernel", 0),
            stride=_pair(arguments, "stride", 1),
            dilation=_pair(arguments, "dilation", 1),
            pads=pads,
            legacy_pad=arguments.get_int("legacy_pad", EXPLICIT),
            global_pooling=arguments.get_bool("global_pooling", False),
        )
        window.check()
        return window

    def check(self) -> None:
        """Raises ModelError for a window that slides over nothing."""
        if min(self.pads) < 0 or max(self.pads) > MAX_EXTENT:
            raise ModelError(f"pads {list(self.pads)} that cannot be")
        if min(self.stride) < 1 or min(self.dilation) < 1:
            raise ModelError(f"stride {list(self.stride)} or dilation {list(self.dilation)} below 1")
        if not self.global_pooling and not 1 <= min(self.kernel) <= max(self.kernel) <= MAX_EXTENT:
            raise ModelError(f"kernel {list(self.kernel)} that cannot be (is the kernel argument missing?)")
        if self.legacy_pad not in (EXPLICIT, VALID, SAME, CAFFE_POOLING):
            raise ModelError(f"legacy_pad {self.legacy_pad} is none of 0, 1, 2, 3")
        if self.legacy_pad in (VALID, SAME) and any(self.pads):
            raise ModelError("legacy_pad VALID or SAME goes without explicit pads")

    def fit(self, height: int, width: int) -> Fit:
        """The window on an image of this size; raises ModelError where the kernel is larger than the padded image."""
        if self.global_pooling:
            return Fit((height, width), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1))
        (top, bottom, rows), (left, right, columns) = (
            self._fit_axis(
                size, self.kernel[axis], self.stride[axis], self.dilation[axis], self.pads[axis::2]
            )
            for axis, size in enumerate((height, width))
        )
        return Fit(self.kernel, self.stride, self.dilation, (top, left, bottom, right), (rows, columns))

    def _fit_axis(self, size, kernel, stride, dilation, pads) -> tuple[int, int, int]:
        """(pad before, pad after, output size) along one axis (ConvPoolOpBase::ComputeSizeAndPad)."""
        extent = dilation * (kernel - 1) + 1
        before, after = pads
        if self.legacy_pad == VALID:
            before = after = 0
        elif self.legacy_pad == SAME:
            needed = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            before, after = needed // 2, needed - needed // 2
        elif self.legacy_pad == CAFFE_POOLING:
            return self._fit_caffe(size, kernel, stride, before)
        if size + before + after < extent:
            raise ModelError(f"a kernel of {extent} on {size} pixels padded by {before} and {after}")
        return before, after, (size + before + after - extent) // stride + 1

    @staticmethod
    def _fit_caffe(size, kernel, stride, pad) -> tuple[int, int, int]:
        """Caffe rounds a pool's output size up, and drops a last window that starts in the padding."""
        if size + 2 * pad < kernel:
            raise ModelError(f"a kernel of {kernel} on {size} pixels padded by {pad}")
        up = -(-(size + 2 * pad - kernel) // stride) + 1
        if pad > 0 and (up - 1) * stride >= size + pad:
            up -= 1
        return pad, max((up - 1) * stride + kernel - size - pad, 0), up


def _pair(arguments: Arguments, name: str, default: int) -> tuple[int, int]:
    return _spelled(arguments, f"{name}s", name, (f"{name}_h", f"{name}_w")) or (default, default)


def _spelled(
    arguments: Arguments, plural: str, single: str, separate: tuple[str, ...]
) -> tuple[int, ...] | None:
    """One value for all sides, a value for each side, or a list; in Caffe2's order of precedence."""
    if single in arguments:
        return (arguments.get_int(single),) * len(separate)
    if all(name in arguments for name in separate):
        return tuple(arguments.get_int(name) for name in separate)
    values = arguments.get_ints(plural)
    if values and len(values) != len(separate):
        raise ModelError(
            f"argument {plural} has {len(values)} values; only images (two dimensions) are supported"
        )
    return values or None
