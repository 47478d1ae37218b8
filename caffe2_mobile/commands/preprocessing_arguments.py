"""The flags by which commands override the preprocessing that a net's file records."""

from collections.abc import Iterable

from caffe2_common.images import MAX_PIXELS
from caffe2_mobile.commands.program import positive


def add_preprocessing_arguments(group, interpolations: Iterable[str] | None = None) -> None:
    """All but the size; interpolations are the names that the parser shall accept, where it is to judge."""
    choices = {"metavar": "NAME"} if interpolations is None else {"choices": list(interpolations)}
    group.add_argument("--interpolation", help="of the resize", **choices)
    group.add_argument("--crop-pct", type=float, metavar="X", help="resize to floor(img-size / X) before the crop")
    group.add_argument("--mean", type=float, nargs="+", metavar="M", help="in the order of the net's channels")
    group.add_argument("--std", type=float, nargs="+", metavar="S", help="likewise")
    group.add_argument("--divisor", type=float, metavar="D", help="of pixels before mean and std: 255, or 1")
    group.add_argument(
        "--bgr", dest="channel_order", action="store_const", const="BGR", help="blue is the net's first channel"
    )
    group.add_argument(
        "--tf-preprocessing", action="store_true", default=None, help="crop and resize as TensorFlow 1 did"
    )


def add_max_pixels_argument(group) -> None:
    """How large an image may be that is read."""
    group.add_argument(
        "--max-pixels", type=positive, default=MAX_PIXELS, metavar="N", help="of an image, default %(default)s"
    )
