"""Images in batches; one by one where a net mixes the images of a batch, or is made for one alone.

A text recognizer, say, turns [N, C, 1, T] into rows [T * N, C]: of two images its rows are not those of the first, then
those of the second. What such a net makes of several images is what it makes of each, one after the other along the
first axis.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models import Net
from caffe2_models.operators.checks import canonical_axis
from caffe2_models.operators.node import Node

# What a net is fed with: its one input or, of several, each by its name; of one image without the axis of images.
Feed = np.ndarray | Mapping[str, np.ndarray]


def feeds_of(inputs: Sequence[str], feed: Feed) -> Mapping[str, np.ndarray]:
    """Each input's own, of a net with these inputs."""
    return feed if isinstance(feed, Mapping) else {inputs[0]: feed}


def images_in(batch: Feed) -> int:
    return len(next(iter(batch.values())) if isinstance(batch, Mapping) else batch)


def mixes_images(net: Net, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a blob of two images is anything but two of one image's. shapes: of the inputs, for one image."""
    try:
        one, two = (
            net.infer_types({name: (images, *shape[1:]) for name, shape in shapes.items()}) for images in (1, 2)
        )
    except ModelError:  # it does not take two
        return True
    if any(spans_images(node, [len(one[name].shape) for name in node.inputs[:1]]) for node in net.operators):
        return True
    made = {name for node in net.operators for name in node.outputs}
    return any(one[name].shape[:1] != (1,) or two[name].shape != (2, *one[name].shape[1:]) for name in made)


def spans_images(node: Node, ranks: list[int]) -> bool:
    """Whether a function of rows, a Softmax say, takes those of all images for one: its axis is the first.

    ranks: of its first input, if it has one.
    """
    axis = getattr(node.operator, "axis", None)
    return axis is not None and any(canonical_axis(axis, rank) == 0 for rank in ranks)


def batches(images: Iterable[Feed], size: int) -> Iterator[Feed]:
    """[N, C, H, W], N = size but for the last; by name where the images are."""
    pending = []
    for image in images:
        pending.append(image)
        if len(pending) == size:
            yield stacked(pending)
            pending = []
    if pending:
        yield stacked(pending)


def stacked(images: Sequence[Feed]) -> Feed:
    """One batch of several images."""
    first = images[0]
    if isinstance(first, Mapping):
        return {name: np.stack([image[name] for image in images if isinstance(image, Mapping)]) for name in first}
    return np.stack([image for image in images if not isinstance(image, Mapping)])
