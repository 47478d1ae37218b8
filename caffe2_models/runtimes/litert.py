"""LiteRT, the runtime of .tflite files, in each of its kernel sets; needs the extra `litert`."""

from typing import Any

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from caffe2_common.errors import ModelError
from caffe2_models.runtimes import DEFAULT_KERNELS, KERNELS

RESOLVERS = {
    "reference": OpResolverType.BUILTIN_REF,
    "built-in": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "xnnpack": OpResolverType.AUTO,
}


def open_interpreter(model: bytes, kernels: str = DEFAULT_KERNELS, threads: int | None = 1) -> Any:
    """LiteRT's interpreter of a file's bytes, its tensors allocated. Raises ModelError where it cannot run it.

    kernels: one of KERNELS.
    """
    resolver = RESOLVERS[kernels]
    try:
        interpreter = Interpreter(model_content=model, num_threads=threads, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"LiteRT ({KERNELS[kernels]}): {' '.join(str(error).split())[:160]}") from None
    return interpreter
