"""Every model of the zoo as an entry point of torch.hub.

>>> torch.hub.list(path, source="local")
>>> torch.hub.load(path, "efficientnet_b0", source="local", pretrained=True)
"""

from mobile_cv.model_zoo import create_model as _create_model
from mobile_cv.model_zoo import list_models as _list_models

dependencies = ["torch"]


def _entry_point(name):
    def build(pretrained=False, **options):
        return _create_model(name, pretrained, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{name} of the zoo; the options are those of mobile_cv.model_zoo.create_model."
    return build


globals().update({_name: _entry_point(_name) for _name in _list_models()})
