"""Images in batches; one by one where a net mixes the images of a batch, or is made for one alone.

A text recognizer, say, turns [N, C, 1, T] into rows [T * N, C]: of two images its rows are not those of the first, then
those of the second. What such a net makes of several images is what it makes of each, one after the other along the
first axis.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models import Net


def mixes_images(net: Net, shape: tuple[int, ...]) -> bool:
    """Whether a blob of two images is anything but two of one image's. shape: of the one input, for one image."""
    try:
        one, two = (net.infer_types({net.inputs[0]: (images, *shape[1:])}) for images in (1, 2))
    except ModelError:  # it does not take two
        return True
    made = {name for node in net.operators for name in node.outputs}
    return any(one[name].shape[:1] != (1,) or two[name].shape != (2, *one[name].shape[1:]) for name in made)


def batches(images: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """[N, C, H, W], N = size but for the last."""
    pending = []
    for image in images:
        pending.append(image)
        if len(pending) == size:
            yield np.stack(pending)
            pending = []
    if pending:
        yield np.stack(pending)
