"""The zoo: mobile networks by name.

>>> from mobile_cv.model_zoo import create_model, list_models
>>> list_models("mobilenetv3*")
>>> model = create_model("mobilenetv3_large_100", pretrained=True).eval()
>>> model.default_cfg     # how an image becomes its input
"""

from mobile_cv.model_zoo import models
from mobile_cv.model_zoo.errors import ModelZooError
from mobile_cv.model_zoo.registry import create_model, get_architecture, list_models

__all__ = ["ModelZooError", "create_model", "get_architecture", "list_models", "models"]
