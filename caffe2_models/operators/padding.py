"""Pixels around images, and blocks of pixels in the batch, float32."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import check_rank
from caffe2_models.operators.convolution import image_shape, ordered
from caffe2_models.operators.registry import Operator, operator
from caffe2_models.operators.window import MAX_EXTENT, Window


@dataclass(frozen=True)
class Padding(Window):
    """A window's pads alone; negative ones crop."""

    def check(self):
        if len(self.pads) != 4:
            raise ModelError(f"pads {list(self.pads)} of an image, which has four sides")
        if max(map(abs, self.pads)) > MAX_EXTENT:
            raise ModelError(f"invalid pads {list(self.pads)}: expected at most {MAX_EXTENT}, or minus that")


@operator("PadImage")
@dataclass(frozen=True)
class PadImage(Operator):
    """Padding with `value`, by reflection or by the edge pixels; negative pads crop."""

    window: Padding
    mode: str = "constant"
    value: float = 0.0
    order: str = "NCHW"

    carries_order = True

    def infer(self, x):
        count, channels, height, width = image_shape(x, self.order)
        top, left, bottom, right = self.window.pads
        if self.mode not in ("constant", "reflect", "edge"):
            raise ModelError(f"padding mode {self.mode!r} is none of constant, reflect, edge")
        if self.mode == "reflect" and (max(top, bottom) >= height or max(left, right) >= width):
            raise ModelError(f"reflection by {list(self.window.pads)} of {height} x {width} pixels")
        size = (height + top + bottom, width + left + right)
        if min(*size, height, width) < 1:
            raise ModelError(f"pads {list(self.window.pads)} leave nothing of {height} x {width} pixels")
        return x.with_shape(ordered((count, channels, *size), self.order))

    def compute(self, x):
        for axis, (positions, outside) in self.sources(x.shape):
            x = x.take(positions, axis)
            if self.mode == "constant":
                np.moveaxis(x, axis, 0)[outside] = np.float32(self.value)
        return np.ascontiguousarray(x)

    def lower(self, graph, x):
        if self.mode == "constant":
            image = x if self.order == "NCHW" else graph.to_nchw(x)
            y = graph.pad(image, self.window.pads, self.value)
            return y if self.order == "NCHW" else graph.to_nhwc(y)
        if min(self.window.pads) >= 0:
            top, left, bottom, right = self.window.pads
            before, behind = ordered((0, 0, top, left), self.order), ordered((0, 0, bottom, right), self.order)
            return graph.add("Pad", x, graph.ints([*before, *behind]), mode=self.mode)
        for axis, (positions, _) in self.sources(x.shape):
            x = graph.add("Gather", x, graph.ints(positions), axis=axis)
        return x

    def sources(self, shape):
        """(axis, (the input's pixel for each of the output's, which of those lie outside)) of both axes."""
        first = 2 if self.order == "NCHW" else 1
        for i, axis in enumerate((first, first + 1)):
            extent, before, after = shape[axis], self.window.pads[i], self.window.pads[i + 2]
            positions = np.arange(-before, extent + after)
            outside = (positions < 0) | (positions >= extent)
            if self.mode == "reflect":
                positions = np.minimum(np.abs(positions), 2 * extent - 2 - positions)
            yield axis, (positions.clip(0, extent - 1), outside)


@dataclass(frozen=True)
class SpaceBatch(Operator):
    """Base: pixels at the same place of each block of block_size x block_size are one image of a larger batch."""

    window: Padding
    block_size: int = 2
    order: str = "NCHW"

    def check(self, x) -> None:
        """Raises ModelError for what neither takes."""
        check_rank(x, 4, "images")
        if not 1 <= self.block_size <= MAX_EXTENT or self.order != "NCHW" or min(self.window.pads) < 0:
            raise ModelError(f"blocks of {self.block_size}, pads {list(self.window.pads)}, order {self.order!r}")


@operator("SpaceToBatch")
@dataclass(frozen=True)
class SpaceToBatch(SpaceBatch):
    """Padded images [N, C, H, W] to [blocks * N, C, H / block_size, W / block_size]."""

    def infer(self, x):
        self.check(x)
        (top, left, bottom, right), block = self.window.pads, self.block_size
        rows, columns = x.shape[2] + top + bottom, x.shape[3] + left + right
        if rows % block or columns % block:
            raise ModelError(f"{rows} by {columns} pixels do not divide into blocks of {block}")
        return x.with_shape((x.shape[0] * block**2, x.shape[1], rows // block, columns // block))

    def compute(self, x):
        (top, left, bottom, right), block = self.window.pads, self.block_size
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        count, channels, rows, columns = x.shape
        blocks = x.reshape(count, channels, rows // block, block, columns // block, block)
        shape = (count * block**2, channels, rows // block, columns // block)
        return blocks.transpose(3, 5, 0, 1, 2, 4).reshape(shape)

    def lower(self, graph, x):
        (top, left, bottom, right), block = self.window.pads, self.block_size
        count, channels, rows, columns = x.shape[0], x.shape[1], x.shape[2] + top + bottom, x.shape[3] + left + right
        y = graph.pad(x, self.window.pads)
        y = graph.add("Reshape", y, graph.ints([count, channels, rows // block, block, columns // block, block]))
        y = graph.add("Transpose", y, perm=[3, 5, 0, 1, 2, 4])
        return graph.add("Reshape", y, graph.ints([count * block**2, channels, rows // block, columns // block]))


@operator("BatchToSpace")
@dataclass(frozen=True)
class BatchToSpace(SpaceBatch):
    """Undoes SpaceToBatch."""

    def infer(self, x):
        self.check(x)
        (top, left, bottom, right), block = self.window.pads, self.block_size
        rows, columns = x.shape[2] * block - top - bottom, x.shape[3] * block - left - right
        if x.shape[0] % block**2 or min(rows, columns) < 0:
            raise ModelError(f"{list(x.shape)} in blocks of {block} with pads {list(self.window.pads)}")
        return x.with_shape((x.shape[0] // block**2, x.shape[1], rows, columns))

    def compute(self, x):
        block = self.block_size
        blocks = x.reshape(block, block, x.shape[0] // block**2, *x.shape[1:]).transpose(2, 3, 4, 0, 5, 1)
        y = blocks.reshape(x.shape[0] // block**2, x.shape[1], x.shape[2] * block, x.shape[3] * block)
        top, left, bottom, right = self.window.pads
        return np.ascontiguousarray(y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right])

    def lower(self, graph, x):
        block, (count, channels, height, width) = self.block_size, x.shape
        y = graph.add("Reshape", x, graph.ints([block, block, count // block**2, channels, height, width]))
        y = graph.add("Transpose", y, perm=[2, 3, 4, 0, 5, 1])
        y = graph.add("Reshape", y, graph.ints([count // block**2, channels, height * block, width * block]))
        return graph.pad(y, [-pad for pad in self.window.pads])
