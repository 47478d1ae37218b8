"""How an image becomes a net's input; carried inside every exported file."""

import dataclasses
import json
from dataclasses import dataclass

from caffe2_common.errors import ModelError
from caffe2_common.sizes import Size

KEY = "preprocessing"  # of the ONNX metadata property and of the NetDef argument


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side to floor(size / crop_pct), crop the centre, (pixel / divisor - mean) / std.

    size is height and width, or one number for both; of a rectangle both sides become at least so large.

    mean and std are in the order of the net's channels (blue first where channel_order is BGR).
    With tf_preprocessing the crop is size / (size + 32) of the JPEG's shorter side, then one
    TensorFlow-1 resize without antialiasing; crop_pct is not used.
    """

    size: Size = 224
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channel_order: str = "RGB"
    divisor: float = 255.0
    tf_preprocessing: bool = False

    def replace(self, **changes) -> "Preprocessing":
        """A copy with the changes that are not None."""
        return dataclasses.replace(self, **{k: v for k, v in changes.items() if v is not None})

    def to_json(self) -> str:
        """As a file's metadata keeps it; from_json reads it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Preprocessing":
        """Raises ModelError where the text is not what to_json writes."""
        try:
            values = json.loads(text)
            fields = {field.name for field in dataclasses.fields(cls)}
            values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key in fields}
            return cls(**values)
        except (ValueError, TypeError, AttributeError):
            raise ModelError(f"preprocessing recorded in the file is unreadable: {str(text)[:80]}") from None
