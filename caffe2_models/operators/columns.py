"""Windows of images as columns, one for each place of the window, and back."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments
from caffe2_models.operators.checks import check_rank
from caffe2_models.operators.convolution import from_nchw, image_shape, ordered, tap_of, to_nchw
from caffe2_models.operators.registry import Operator, operator
from caffe2_models.operators.window import Fit, Window


@dataclass(frozen=True)
class ColumnWindow:
    """kernel, stride and dilation, or their _h and _w forms; pad for all sides."""

    window: Window

    @classmethod
    def decode(cls, arguments: Arguments) -> "ColumnWindow":
        def sides(name: str, default: int) -> tuple[int, ...]:
            both = arguments.get_int(name, default)
            return tuple(arguments.get_int(f"{name}_{side}", both) for side in "hw")

        pads = (arguments.get_int("pad", 0),) * 4
        window = Window(sides("kernel", 0), sides("stride", 1), sides("dilation", 1), pads)
        window.check()
        return cls(window)

    def fit(self, height: int, width: int) -> Fit:
        """The window on an image; ModelError where the image without its pads is smaller."""
        fit = self.window.fit(height, width)
        for extent, kernel, dilation in zip((height, width), fit.kernel, fit.dilation, strict=True):
            if extent < dilation * (kernel - 1) + 1:
                raise ModelError(f"a kernel of {dilation * (kernel - 1) + 1} on {extent} pixels")
        return fit


@dataclass(frozen=True)
class Columns(Operator):
    """Base: the window and the order of the image."""

    place: ColumnWindow
    order: str = "NCHW"

    def columns_of(self, image: tuple[int, ...]) -> tuple[tuple[int, ...], Fit]:
        """(shape of the columns of an (N, C, H, W) image, the window on it)"""
        count, channels, height, width = image
        fit = self.place.fit(height, width)
        return ordered((count, channels * fit.area, *fit.output), self.order), fit


@operator("Im2Col")
@dataclass(frozen=True)
class Im2Col(Columns):
    """What the window sees at each place: [N, C * kh * kw, *places], in NHWC order [N, *places, kh * kw * C]."""

    def infer(self, x):
        return x.with_shape(self.columns_of(image_shape(x, self.order))[0])

    def compute(self, x):
        x = to_nchw(x, self.order)
        shape, fit = self.columns_of(x.shape)
        padded = np.pad(x, fit.margins)
        taps = np.stack([tap_of(padded, fit, tap) for tap in range(fit.area)], axis=2)  # [N, C, taps, *places]
        if self.order == "NHWC":
            taps = taps.transpose(0, 3, 4, 2, 1)
        return np.ascontiguousarray(taps).reshape(shape)

    def lower(self, graph, x):
        """A convolution of each channel with as many weights as there are taps, each a single 1."""
        shape, fit = self.columns_of(image_shape(x.type, self.order))
        channels = x.shape[1 if self.order == "NCHW" else 3]
        taps = np.eye(fit.area, dtype=np.float32).reshape(fit.area, 1, *fit.kernel)
        y = graph.add(
            "Conv",
            *(x if self.order == "NCHW" else graph.to_nchw(x), graph.constant(np.tile(taps, (channels, 1, 1, 1)))),
            **fit.attributes,
            dilations=fit.dilation,
            group=channels,
        )
        if self.order == "NCHW":
            return y
        places = graph.add("Reshape", y, graph.ints([0, channels, fit.area, *fit.output]))
        return graph.add("Reshape", graph.add("Transpose", places, perm=[0, 3, 4, 2, 1]), graph.ints([0, *shape[1:]]))

    def workspace(self, x):
        count, channels, *size = image_shape(x, self.order)
        return 4 * count * channels * self.place.fit(*size).padded_area(*size)


@operator("Col2Im")
@dataclass(frozen=True)
class Col2Im(Columns):
    """The sum of all columns in their places, in the shape of the image that is the second input."""

    def infer(self, x, like):
        check_rank(like, 4, "an image")
        shape = self.columns_of(image_shape(like, self.order))[0]
        if x.size != np.prod(shape, dtype=np.int64):
            raise ModelError(f"columns {list(x.shape)}; {list(shape)} are expected")
        return like.with_shape(like.shape)

    def compute(self, x, like):
        image = to_nchw(like, self.order)
        count, channels, height, width = image.shape
        _, fit = self.columns_of(image.shape)
        taps, order = x.reshape(count, channels, fit.area, *fit.output), range(fit.area)
        if self.order == "NHWC":  # place by place, so that the last tap comes first
            taps = x.reshape(count, *fit.output, fit.area, channels).transpose(0, 4, 3, 1, 2)
            order = order[::-1]
        top, left, bottom, right = fit.pads
        padded = np.zeros((count, channels, height + top + bottom, width + left + right), np.float32)
        for tap in order:
            seen = tap_of(padded, fit, tap)
            seen += taps[:, :, tap]
        return from_nchw(np.ascontiguousarray(padded[:, :, top : top + height, left : left + width]), self.order)

    def workspace(self, x, like):
        return 0 if not any(self.place.window.pads) else 4 * like.size * 16
