"""Pixels of a layer's output, drawn once for each image, and what the layer reads and computes there."""

from dataclasses import dataclass

import numpy as np

from exporters.layers import Layer


@dataclass(frozen=True)
class Positions:
    """Pixels of a layer's output, the same number in each image: image, row and column, each int64 [S].

    Where one image makes several along the output's first axis, `image` counts those.
    """

    image: np.ndarray
    row: np.ndarray
    column: np.ndarray

    def of_images(self, start: int, stop: int) -> "Positions":
        """Those in some of the images, counted from `start`."""
        chosen = (self.image >= start) & (self.image < stop)
        return Positions(self.image[chosen] - start, self.row[chosen], self.column[chosen])


def draw_positions(images: int, shape: tuple[int, ...], wanted: int, rng: np.random.Generator) -> Positions:
    """At least `wanted` pixels of outputs of this shape [R, O, H, W], or all there are; of a matrix its rows.

    shape: of what one image makes, R = 1 as a rule.
    """
    rows, (height, width) = shape[0], shape[2:] if len(shape) == 4 else (1, 1)
    area = height * width
    each = int(np.clip(-(-wanted // images), 1, rows * area))
    pixels = np.concatenate([image * rows * area + rng.permutation(rows * area)[:each] for image in range(images)])
    return Positions(pixels // area, pixels % area // width, pixels % width)


def read_inputs(x: np.ndarray, layer: Layer, positions: Positions, padding: float = 0) -> np.ndarray:
    """What the layer's rows multiply at these positions: [G, S, K] in x's dtype, K in the order of `Layer.rows`.

    x: [N, C, H, W] or [N, K]. ConvTranspose is not read (ValueError).
    """
    if layer.type == "FC":
        return x[positions.image].reshape(1, len(positions.image), -1)
    if layer.type != "Conv":
        raise ValueError(f"inputs of a {layer.type} are not sampled")
    height, width = layer.inputs[0].shape[2:]
    fit = layer.window.fit(height, width)
    rows = positions.row[:, None] * fit.stride[0] - fit.pads[0] + np.arange(fit.kernel[0]) * fit.dilation[0]
    columns = positions.column[:, None] * fit.stride[1] - fit.pads[1] + np.arange(fit.kernel[1]) * fit.dilation[1]
    inside_rows, inside_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    patches = x.transpose(0, 2, 3, 1)[
        positions.image[:, None, None],
        np.clip(rows, 0, height - 1)[:, :, None],
        np.clip(columns, 0, width - 1)[:, None, :],
    ]  # [S, kh, kw, C]
    patches[~(inside_rows[:, :, None] & inside_columns[:, None, :])] = padding
    grouped = patches.reshape(len(patches), *fit.kernel, layer.group, -1)
    return grouped.transpose(3, 0, 4, 1, 2).reshape(layer.group, len(patches), -1)


def apply_rows(rows: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """[S, O]: rows [O, K] on the inputs [G, S, K] of their groups."""
    groups, samples, size = inputs.shape
    products = inputs @ rows.reshape(groups, -1, size).swapaxes(1, 2)
    return products.transpose(1, 0, 2).reshape(samples, -1)
