"""What options of several functions share."""

from dataclasses import dataclass
from typing import Any

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Size


@dataclass(frozen=True, kw_only=True)
class PreprocessingOptions:
    """What to read otherwise than the net's file records it; None: as recorded. The fields are Preprocessing's."""

    interpolation: str | None = None
    crop_pct: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    divisor: float | None = None
    channel_order: str | None = None
    tf_preprocessing: bool | None = None

    def applied_to(self, recorded: Preprocessing, size: Size | None) -> Preprocessing:
        """The recorded preprocessing with these options, and the size (pixels), in its place."""
        return recorded.replace(
            size=size,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            mean=self.mean,
            std=self.std,
            divisor=self.divisor,
            channel_order=self.channel_order,
            tf_preprocessing=self.tf_preprocessing,
        )


def require_positive(options: Any, *names: str) -> None:
    """Raises ModelError for the first of these fields that is neither None nor above zero."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not min(value if isinstance(value, tuple) else (value,)) > 0:
            raise ModelError(f"invalid {name} {value}: expected a number above zero")


def require_one_of(name: str, value: str, choices: Any) -> None:
    """Raises ModelError for a value that is none of the choices."""
    if value not in choices:
        raise ModelError(f"invalid {name} {value!r}: expected one of {', '.join(choices)}")
