"""caffe2.python.helpers.tools"""

from typing import Any


def image_input(
    model: Any, blob_in: Any, blob_out: Any, order: str = "NCHW", use_gpu_transform: bool = False, **kwargs: Any
) -> Any:
    """Images from a database; for NCHW they are turned from NHWC."""
    assert "is_test" in kwargs, "Argument 'is_test' is required"
    if order != "NCHW":
        return model.net.ImageInput(blob_in, blob_out, **kwargs)
    if use_gpu_transform:
        return model.net.ImageInput(blob_in, blob_out, use_gpu_transform=1, **kwargs)
    images, *rest = model.net.ImageInput(blob_in, [blob_out[0] + "_nhwc", *blob_out[1:]], **kwargs)
    return (model.net.NHWC2NCHW(images, blob_out[0]), *rest)


def video_input(model: Any, blob_in: Any, blob_out: Any, **kwargs: Any) -> Any:
    return model.net.VideoInput(blob_in, blob_out, **kwargs)
