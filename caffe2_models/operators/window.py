"""The sliding window of convolutions and pools: its arguments in all spellings, and how it fits an image."""

import math
from dataclasses import dataclass

from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments

MAX_EXTENT = 1 << 20

# legacy_pad (caffe2/proto/caffe2_legacy.proto)
EXPLICIT, VALID, SAME, CAFFE_POOLING = 0, 1, 2, 3

SIDES = ("pad_t", "pad_l", "pad_b", "pad_r")


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

    def padded_area(self, height: int, width: int) -> int:
        """Pixels of an image of this size with the pads around it; 0 where there are none, and no copy is made."""
        top, left, bottom, right = self.pads
        return (height + top + bottom) * (width + left + right) if any(self.pads) else 0


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
        """From kernel/stride/pad/dilation, their _h _w and _t _l _b _r forms, or lists kernels, strides..."""
        pads = spelled(arguments, "pads", "pad", SIDES)
        window = cls(
            kernel=pair(arguments, "kernel") or (0, 0),
            stride=pair(arguments, "stride") or (1, 1),
            dilation=pair(arguments, "dilation") or (1, 1),
            pads=pads or (0, 0, 0, 0),
            legacy_pad=arguments.get_int("legacy_pad", EXPLICIT),
            global_pooling=bool(arguments.get_int("global_pooling", 0)),
        )
        if pads is not None and window.legacy_pad in (VALID, SAME):
            raise ModelError("legacy_pad VALID or SAME goes without explicit pads")
        window.check()
        return window

    def check(self) -> None:
        """Raises ModelError for a window that slides over nothing."""
        if min(self.pads) < 0 or max(self.pads) > MAX_EXTENT:
            raise ModelError(f"pads {list(self.pads)} that cannot be")
        if min(self.stride) < 1 or min(self.dilation) < 1:
            raise ModelError(f"stride {list(self.stride)} or dilation {list(self.dilation)} below 1")
        if max(self.stride + self.dilation) > MAX_EXTENT:
            raise ModelError(f"stride {list(self.stride)} or dilation {list(self.dilation)} that cannot be")
        if not self.global_pooling and not 1 <= min(self.kernel) <= max(self.kernel) <= MAX_EXTENT:
            raise ModelError(f"kernel {list(self.kernel)} that cannot be (is the kernel argument missing?)")
        if self.legacy_pad not in (EXPLICIT, VALID, SAME, CAFFE_POOLING):
            raise ModelError(f"legacy_pad {self.legacy_pad} is none of 0, 1, 2, 3")
        if self.legacy_pad == SAME and self.dilation != (1, 1):
            raise ModelError("legacy_pad SAME goes without dilation")
        if self.global_pooling and (any(self.pads) or self.stride != (1, 1) or self.dilation != (1, 1)):
            raise ModelError("global_pooling goes without pads, stride and dilation")

    def fit(self, height: int, width: int) -> Fit:
        """The window on an image of this size; raises ModelError where the padded image is too small."""
        if self.global_pooling:
            return Fit((height, width), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1))
        (top, bottom, rows), (left, right, columns) = (
            self._fit_axis(size, self.kernel[axis], self.stride[axis], self.dilation[axis], self.pads[axis::2])
            for axis, size in enumerate((height, width))
        )
        return Fit(self.kernel, self.stride, self.dilation, (top, left, bottom, right), (rows, columns))

    def _fit_axis(self, size, kernel, stride, dilation, pads) -> tuple[int, int, int]:
        """(pad before, pad after, output size) along one axis (ConvPoolOpBase::ComputeSizeAndPad)."""
        extent = dilation * (kernel - 1) + 1
        before, after = pads
        if self.legacy_pad == CAFFE_POOLING:
            return self._fit_caffe(size, kernel, stride, before)
        if self.legacy_pad == SAME:
            needed = (math.ceil(size / stride) - 1) * stride + kernel - size
            if needed < -1:
                raise ModelError(f"legacy_pad SAME with a stride of {stride} over a kernel of {kernel}")
            before, after = max(needed, 0) // 2, (max(needed, 0) + 1) // 2
        if size + before + after < extent:
            raise ModelError(f"a kernel of {extent} on {size} pixels padded by {before} and {after}")
        return before, after, (size + before + after - extent) // stride + 1

    @staticmethod
    def _fit_caffe(size, kernel, stride, pad) -> tuple[int, int, int]:
        """Caffe rounds a pool's output size up, and drops a last window that starts in the padding."""
        output = math.ceil((size + 2 * pad - kernel) / stride) + 1
        if pad > 0 and (output - 1) * stride >= size + pad:
            output -= 1
        if output < 1 or size == 0:
            raise ModelError(f"a kernel of {kernel} on {size} pixels padded by {pad}")
        return pad, max((output - 1) * stride + kernel - size - pad, 0), output


def pair(arguments: Arguments, name: str) -> tuple[int, int] | None:
    """(height, width) of an argument in any of its spellings, or None."""
    return spelled(arguments, f"{name}s", name, (f"{name}_h", f"{name}_w"))


def spelled(arguments: Arguments, plural: str, single: str, separate: tuple[str, ...]) -> tuple[int, ...] | None:
    """A list, one value for all sides, or one for each; where several are given, all that Caffe2 makes of it.

    None where none is given. Raises ModelError for another number of values than images have sides.
    """
    values, count = arguments.get_ints(plural, ()), len(separate)
    if single in arguments:
        values = (values + (arguments.get_int(single),) * count)[:count]
    elif all(name in arguments for name in separate):
        values += tuple(arguments.get_int(name) for name in separate)
    if values and len(values) != count:
        raise ModelError(f"{len(values)} values for {plural}; only images (two dimensions) are supported")
    return values or ((0,) * count if plural == "pads" and plural in arguments else None)
