"""Optional dependencies, by the extra of the package that installs them."""

from collections.abc import Iterator
from contextlib import contextmanager

from caffe2_common.errors import ModelError

# module -> extra, as in setup.cfg
EXTRAS = {
    "torch": "torch",
    "onnxscript": "torch",
    "matplotlib": "plots",
    "sklearn": "demo",
    "tensorboard": "logs",
    "ray": "cluster",
    "ai_edge_litert": "litert",
    "flatbuffers": "litert",
}


@contextmanager
def explaining_extras() -> Iterator[None]:
    """A block in which a missing optional dependency raises ModelError that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRAS:
            raise
        raise ModelError(f"{name} is not installed: pip install 'caffe2-mobile[{EXTRAS[name]}]'") from error
