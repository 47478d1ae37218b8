"""caffe2.python.helpers.control_ops"""

from typing import Any

NOT_HERE = "is not in caffe2-mobile: nets with branches are run where a file has them, and not built"


def cond(model: Any, cond_blob: Any, external_blobs: Any, then_model: Any, else_model: Any = None) -> Any:
    raise NotImplementedError(f"brew.cond {NOT_HERE}")


def loop(model: Any, cond_blob: Any, external_blobs: Any, loop_model: Any, cond_model: Any = None) -> Any:
    raise NotImplementedError(f"brew.loop {NOT_HERE}")
