"""The sliding window of convolutions and pools: its arguments in all spellings, and how it fits an image."""

import math
from dataclasses import dataclass

from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments

MAX_EXTENT = 1 << 20

MAX_DIMS = 3

# legacy_pad (caffe2/proto/caffe2_legacy.proto)
EXPLICIT, VALID, SAME, CAFFE_POOLING = 0, 1, 2, 3

SIDES = ("pad_t", "pad_l", "pad_b", "pad_r")


@dataclass(frozen=True)
class Fit:
    """A window on an image of known size, as (height, width), or of one or three dimensions.

    The pads are those before every dimension, then those behind: (top, left, bottom, right).
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[int, ...]
    output: tuple[int, ...]

    @property
    def area(self) -> int:
        return math.prod(self.kernel)

    @property
    def attributes(self) -> dict[str, tuple[int, ...]]:
        """Of ONNX's operators on windows; dilations, which not all of them have, stand apart."""
        return {"kernel_shape": self.kernel, "strides": self.stride, "pads": self.pads}

    @property
    def margins(self) -> list[tuple[int, int]]:
        """(before, behind) for each dimension of [N, C, *size], as numpy pads."""
        return [(0, 0), (0, 0), *zip(self.pads[: len(self.kernel)], self.pads[len(self.kernel) :], strict=True)]

    def padded_area(self, *size: int) -> int:
        """Pixels of an image of this size with the pads around it; 0 where there are none, and no copy is made."""
        padded = (extent + sum(pads) for extent, pads in zip(size, self.margins[2:], strict=True))
        return math.prod(padded) if any(self.pads) else 0


@dataclass(frozen=True)
class Window:
    """Kernel, stride, dilation and pads as an operator's arguments give them.

    Only the lists give another number of dimensions than two; a global pool takes the input's.
    """

    kernel: tuple[int, ...] = (0, 0)
    stride: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (0, 0, 0, 0)
    legacy_pad: int = EXPLICIT
    global_pooling: bool = False

    @classmethod
    def decode(cls, arguments: Arguments) -> "Window":
        """From kernel/stride/pad/dilation, their _h _w and _t _l _b _r forms, or lists kernels, strides..."""
        dims = len(arguments.get_ints("kernels", ())) or 2
        pads = spelled(arguments, "pads", "pad", SIDES, 2 * dims)
        window = cls(
            kernel=extents(arguments, "kernel", dims) or (0,) * dims,
            stride=extents(arguments, "stride", dims) or (1,) * dims,
            dilation=extents(arguments, "dilation", dims) or (1,) * dims,
            pads=pads or (0,) * 2 * dims,
            legacy_pad=arguments.get_int("legacy_pad", EXPLICIT),
            global_pooling=bool(arguments.get_int("global_pooling", 0)),
        )
        if dims > MAX_DIMS:
            raise ModelError(f"a window of {dims} dimensions; {MAX_DIMS} are supported")
        if pads is not None and window.legacy_pad in (VALID, SAME):
            raise ModelError("legacy_pad VALID or SAME goes without explicit pads")
        window.check()
        return window

    @property
    def dims(self) -> int | None:
        """Of the images it slides over; None where any will do."""
        return None if self.global_pooling else len(self.kernel)

    def check(self) -> None:
        """Raises ModelError for a window that slides over nothing."""
        if min(self.pads) < 0 or max(self.pads) > MAX_EXTENT:
            raise ModelError(f"invalid pads {list(self.pads)}: expected 0 to {MAX_EXTENT}")
        if min(self.stride) < 1 or min(self.dilation) < 1:
            raise ModelError(f"stride {list(self.stride)} or dilation {list(self.dilation)} below 1")
        if max(self.stride + self.dilation) > MAX_EXTENT:
            raise ModelError(
                f"invalid stride {list(self.stride)} or dilation {list(self.dilation)}: expected at most {MAX_EXTENT}"
            )
        if not self.global_pooling and not 1 <= min(self.kernel) <= max(self.kernel) <= MAX_EXTENT:
            raise ModelError(
                f"invalid kernel {list(self.kernel)}: expected 1 to {MAX_EXTENT} (is the argument missing?)"
            )
        if self.legacy_pad not in (EXPLICIT, VALID, SAME, CAFFE_POOLING):
            raise ModelError(f"legacy_pad {self.legacy_pad} is none of 0, 1, 2, 3")
        if self.legacy_pad == SAME and max(self.dilation) != 1:
            raise ModelError("legacy_pad SAME goes without dilation")
        if self.global_pooling and (any(self.pads) or max(self.stride + self.dilation) != 1):
            raise ModelError("global_pooling goes without pads, stride and dilation")

    def fit(self, *size: int) -> Fit:
        """The window on an image of this size; raises ModelError where the padded image is too small."""
        dims = len(size)
        if self.global_pooling:
            if 0 in size:
                raise ModelError(f"an image of {list(size)} pixels")
            return Fit(size, (1,) * dims, (1,) * dims, (0,) * 2 * dims, (1,) * dims)
        if dims != len(self.kernel):
            raise ModelError(f"a window of {len(self.kernel)} dimensions on an image of {dims}")
        before, behind, output = zip(
            *(
                self._fit_axis(extent, self.kernel[axis], self.stride[axis], self.dilation[axis], self.pads[axis::dims])
                for axis, extent in enumerate(size)
            ),
            strict=True,
        )
        return Fit(self.kernel, self.stride, self.dilation, before + behind, output)

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


def pair(arguments: Arguments, name: str) -> tuple[int, ...] | None:
    """(height, width) of an argument in any of its spellings, or None."""
    return extents(arguments, name, 2)


def extents(arguments: Arguments, name: str, dims: int) -> tuple[int, ...] | None:
    """An argument's value for each dimension, in any of its spellings, or None."""
    return spelled(arguments, f"{name}s", name, (f"{name}_h", f"{name}_w"), dims)


def spelled(
    arguments: Arguments, plural: str, single: str, separate: tuple[str, ...], count: int
) -> tuple[int, ...] | None:
    """A list, one value for all sides, or one for each; where several are given, all that Caffe2 makes of it.

    None where none is given. Raises ModelError for another number of values than `count`; only images, of two
    dimensions, have other spellings than the list.
    """
    values = arguments.get_ints(plural, ())
    if single in arguments:
        values = (values + (arguments.get_int(single, 0),) * len(separate))[: len(separate)]
    elif all(name in arguments for name in separate):
        values += tuple(arguments.get_int(name, 0) for name in separate)
    if values and len(values) != count:
        raise ModelError(f"{len(values)} values for {plural}; {count} are expected")
    return values or ((0,) * count if plural == "pads" and plural in arguments else None)
