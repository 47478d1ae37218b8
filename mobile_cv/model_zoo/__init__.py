"""The zoo: mobile networks by name.

>>> from mobile_cv.model_zoo import create_model, list_models
>>> list_models("mobilenetv3*")
>>> model = create_model("mobilenetv3_large_100", pretrained=True).eval()
>>> model.default_cfg     # how an image becomes its input
"""

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo import models
from mobile_cv.model_zoo.registry import create_model, get_architecture, list_models

__all__ = ["ModelError", "create_model", "get_architecture", "list_models", "models"]
