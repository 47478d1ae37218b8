"""One module per family: its definitions as strings, and its table of models, one line each.

Importing this package enters them all into the registry.
"""

from mobile_cv.model_zoo.models import (
    caffe2,
    cifar10,
    efficientnet,
    fbnet,
    fbnet_v2,
    mixnet,
    mnasnet,
    mobilenet,
)

__all__ = ["caffe2", "cifar10", "efficientnet", "fbnet", "fbnet_v2", "mixnet", "mnasnet", "mobilenet"]
