"""How style transfer nets read and write a camera's image: packed BGRA bytes, [N, H, W, 4]."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.registry import FLOAT32, UINT8, Operator, operator
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import TensorType

NOISE = "__CAFFE2_STYLIZER_NOISE__"  # the blob that all such operators of a workspace share
COLOURS = 3


def check_image(x: TensorType, mean: TensorType, axis: int, channels: int) -> None:
    """Raises ModelError for what is no image with `channels` along `axis`, or no mean for it."""
    if len(x.shape) != 4 or x.shape[axis] != channels or mean.size != COLOURS:
        raise ModelError(f"an image {list(x.shape)} with a mean {list(mean.shape)}; {channels} channels are expected")


@operator("PackedInt8BGRANHWCToNCHWCStylizerPreprocess")
@dataclass(frozen=True)
class StylizerPreprocess(Operator):
    """BGRA bytes to float32 [N, 3, H, W], less the mean, plus noise.

    Colour c of pixel p gets value (3 p + c) mod noise_size of the noise, which is the workspace's: drawn once for
    the first such operator, or fed under its name.
    """

    noise_std: float = 10.0
    noise_size: int = 491

    dtypes = (UINT8, FLOAT32)
    implicit_inputs = (NOISE,)

    def implicit_fills(self):
        if not 1 <= self.noise_size <= 1 << 20:
            raise ModelError(f"noise of {self.noise_size} values")
        noise = caffe2_pb2.OperatorDef(type="GaussianFill", output=[NOISE])
        noise.arg.add(name="std", f=self.noise_std)
        noise.arg.add(name="shape", ints=[self.noise_size])
        return [noise]

    def infer(self, x, mean, noise):
        check_image(x, mean, 3, COLOURS + 1)
        if not 1 <= self.noise_size <= noise.size:
            raise ModelError(f"{NOISE} holds {noise.size} values, noise_size={self.noise_size}")
        count, height, width, _ = x.shape
        return TensorType((count, COLOURS, height, width))

    def compute(self, x, mean, noise):
        height, width = x.shape[1:3]
        noise = np.resize(noise.ravel()[: self.noise_size], (height, width, COLOURS))
        y = x[..., :COLOURS].astype(np.float32) - mean.ravel() + noise
        return np.ascontiguousarray(y.transpose(0, 3, 1, 2))

    def lower(self, graph, x, mean, noise):
        """In NCHW order from the start: ONNX Runtime is slow where the last dimension is 3."""
        _, height, width, _ = x.shape
        size = height * width * COLOURS
        colours = graph.add("Slice", graph.to_nchw(x), graph.ints([0]), graph.ints([COLOURS]), graph.ints([1]))
        centre = graph.add("Reshape", mean, graph.ints([1, COLOURS, 1, 1]))
        y = graph.add("Sub", graph.cast(colours, np.float32), centre)
        if noise.type.value is not None and not noise.type.value.any():
            return y
        cycle = graph.add("Reshape", noise, graph.ints([-1]))
        cycle = graph.add("Slice", cycle, graph.ints([0]), graph.ints([self.noise_size]))
        cycles = graph.add("Tile", cycle, graph.ints([-(-size // self.noise_size)]))
        cycles = graph.add("Slice", cycles, graph.ints([0]), graph.ints([size]))
        image = graph.add("Reshape", cycles, graph.ints([1, height, width, COLOURS]))
        return graph.add("Add", y, graph.to_nchw(image))


@operator("BRGNCHWCToPackedInt8BGRAStylizerDeprocess")
@dataclass(frozen=True)
class StylizerDeprocess(Operator):
    """float32 [N, 3, H, W] plus the mean to BGRA bytes, cut off below the point; opaque."""

    rounds = True

    def infer(self, x, mean):
        check_image(x, mean, 1, COLOURS)
        count, _, height, width = x.shape
        return TensorType((count, height, width, COLOURS + 1), np.uint8)

    def compute(self, x, mean):
        count, _, height, width = x.shape
        y = np.full((count, height, width, COLOURS + 1), 255, np.uint8)
        y[..., :COLOURS] = np.clip(x.transpose(0, 2, 3, 1) + mean.ravel(), np.float32(0), np.float32(255))
        return y

    def lower(self, graph, x, mean):
        count, _, height, width = x.shape
        y = graph.add("Add", x, graph.add("Reshape", mean, graph.ints([1, COLOURS, 1, 1])))
        colours = graph.cast(graph.clip(y, 0, 255), np.uint8)
        alpha = graph.constant(np.full((count, 1, height, width), 255, np.uint8))
        return graph.to_nhwc(graph.add("Concat", colours, alpha, axis=1))
