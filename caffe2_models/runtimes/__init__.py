"""What runs a net. Runtimes are imported when asked for: a command that only reads nets stays light."""

from caffe2_common.errors import ModelError
from caffe2_models.net import Net
from caffe2_models.operators.node import all_nodes
from caffe2_models.runtimes.session import Session

BACKENDS = ("auto", "reference", "exact", "onnxruntime", "caffe2")

# LiteRT's sets of kernels, and what reports call them
KERNELS = {"reference": "reference kernels", "built-in": "built-in kernels", "xnnpack": "XNNPACK"}
DEFAULT_KERNELS = "xnnpack"  # LiteRT's own


def create_session(net: Net, backend: str = "auto", threads: int | None = None, approximate: bool = False) -> Session:
    """A session of the named runtime; `auto` takes the fastest that is exact for this net.

    threads: how many to use, all cores where None. approximate: `onnxruntime` runs int8 nets in QDQ form, which is
    faster and differs from Caffe2 by some steps. Raises ModelError for an unknown or absent runtime, and for
    operators that are not supported.
    """
    if backend not in BACKENDS:
        raise ModelError(f"backend {backend!r} is none of {', '.join(BACKENDS)}")
    if backend == "caffe2":
        from caffe2_models.runtimes.caffe2 import Caffe2Session

        return Caffe2Session(net, threads)
    net.require_supported()
    if backend == "auto":
        backend = fastest_exact(net)
    if backend == "onnxruntime":
        from caffe2_models.runtimes.onnx_runtime import OnnxRuntimeSession

        return OnnxRuntimeSession(net, threads, approximate)
    if backend == "exact":
        from caffe2_models.runtimes.exact import ExactSession

        return ExactSession(net, threads)
    from caffe2_models.runtimes.reference import ReferenceSession

    return ReferenceSession(net, threads)


def missing_kernels(net: Net, backend: str) -> str | None:
    """What is said once where an int8 net runs on `reference` for want of the kernels; None elsewhere."""
    from caffe2_models.kernels import is_available

    if backend != "reference" or not net.is_quantized or is_available():
        return None
    return (
        "int8 runs on `reference`, which is many times slower than `exact`: its kernels were not built when this was "
        "installed; install a C++ compiler, then install this again"
    )


def fastest_exact(net: Net) -> str:
    """The name of the fastest runtime here that computes exactly what Caffe2 does.

    Of float32 nets any will do, but for those in which last bits decide: without the kernels, which would take
    minutes there, even for them.
    """
    from caffe2_models.kernels import is_available

    decide = any(node.operator.ranks or node.operator.rounds for node in all_nodes(net.operators))
    if not net.is_quantized and not (decide and is_available()):
        return "onnxruntime"
    return "exact" if is_available() else "reference"
