"""A net of any form, as the validator sees it: images in, scores out."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Size, size_of
from caffe2_models import Int8Tensor, Net
from caffe2_models.find import find_net
from caffe2_models.model_files import open_model_file
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.published import canonical_name
from caffe2_models.runtimes import fastest_exact, missing_kernels

SOFTMAX = {"Softmax", "Int8Softmax"}

Infer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Classifier:
    """A net that scores classes.

    open_session() gives a function from float32 [n, channels, size, size] to scores [n, classes] for the use of one
    thread; it may be called several times, and sessions run side by side, each on one core, unless the net is to have
    only a lone_session, which then takes all cores. form is caffe2-fp32, caffe2-int8, onnx, onnx-int8, tflite,
    tflite-int8, pytorch or pytorch-int8; preprocessing, size and outputs (how many scores) are what the file itself
    tells; param_count counts numbers; fixed_batch is the only batch size the net takes, if there is one; probabilities
    says that the scores are a softmax's; fingerprint tells one net from another; notes are what the user should know of
    how it runs.
    """

    name: str
    form: str
    backend: str
    open_session: Callable[[], Infer]
    param_count: int
    preprocessing: Preprocessing | None = None
    size: Size | None = None
    channels: int = 3
    fixed_batch: int | None = None
    probabilities: bool = False
    fingerprint: str = ""
    lone_session: bool = False
    outputs: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def weights(self) -> str:
        """fp32 or int8."""
        return "int8" if self.form.endswith("int8") else "fp32"


def from_caffe2(
    net: Net, name: str, backend: str = "auto", size: Size | None = None, approximate: bool = False
) -> Classifier:
    """A Caffe2 net with one image input (NCHW); of several outputs the first counts.

    size is the image size to check it with, where given; backend and approximate are Net.session's. Raises
    ModelError where the net is no classifier.
    """
    if len(net.inputs) != 1:
        raise ModelError(f"{name}: has inputs {', '.join(net.inputs) or 'none'}; a classifier has one, the image")
    if not net.outputs:
        raise ModelError(f"{name}: has no outputs")
    data, scores = net.inputs[0], net.outputs[0]
    try:
        own = net.input_shapes(size)[data]
        size = size_of(own) if len(own) == 4 else None
    except ModelError:  # neither the files nor a flag tell the size
        own = net.input_shapes(Preprocessing().size)[data]
    if len(own) != 4:
        raise ModelError(f"{name}: input {data} has shape {list(own)}; images in NCHW layout were expected")
    batch = 2
    shape, _ = net.infer_shapes({data: (batch, *own[1:])})[scores]
    notes: tuple[str, ...] = ()
    if backend == "auto":
        backend = fastest_exact(net)
        notes = tuple(filter(None, [missing_kernels(net, backend)]))
    lone = backend == "caffe2"  # whose workspace belongs to the whole process

    def open_session() -> Infer:
        session = net.session(backend=backend, threads=None if lone else 1, approximate=approximate)

        def infer(x: np.ndarray) -> np.ndarray:
            value = session.run({data: x}, outputs=[scores])[scores]
            value = value.dequantize() if isinstance(value, Int8Tensor) else value
            return value.reshape(len(x), -1)

        return infer

    writers = [node.type for node in net.operators if scores in node.outputs]
    return Classifier(
        name=name,
        form="caffe2-int8" if net.is_quantized else "caffe2-fp32",
        backend=backend,
        open_session=open_session,
        param_count=sum(t.size for t in net.parameter_types.values()),
        preprocessing=get_preprocessing(net.predict),
        size=size,
        channels=own[1],
        fixed_batch=None if shape[0] == batch else 1,
        outputs=int(np.prod(shape[1:])) if shape[0] == batch else None,
        notes=notes,
        lone_session=lone,
        probabilities=bool(writers) and writers[-1] in SOFTMAX,
        fingerprint=_digest(*(part.SerializeToString(deterministic=True) for part in (net.predict, net.init))),
    )


def load_caffe2(
    place: str | os.PathLike[str],
    init: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    size: Size | None = None,
    approximate: bool = False,
) -> Classifier:
    """From files or a model folder, as find_net takes them; named by the folder, or the files' prefix."""
    path = Path(place).resolve()
    name = path.name.removesuffix(".pbtxt").removesuffix(".pb").removesuffix(".predict")
    name = path.parent.name if name in ("model", "predict", "predict_net") and path.is_file() else name
    if not path.exists():  # a prefix, or a published name
        name = canonical_name(str(place)) or name
    return from_caffe2(find_net(place, init), name, backend, size, approximate)


def load_file(place: str | os.PathLike[str], kernels: str | None = None) -> Classifier:
    """An .onnx or .tflite file, run by its own runtime; kernels: LiteRT's set.

    Raises ModelError where it is no classifier of images.
    """
    file = open_model_file(place, kernels)
    if len(file.inputs) != 1:
        raise ModelError(f"{file.path}: has {len(file.inputs)} inputs; a classifier has one, the image")
    ((data, dims),) = file.inputs.items()
    if len(dims) != 4 or not file.takes_floats:
        raise ModelError(f"{file.path}: input {data} is {file.describe(data)}; float images in NCHW were expected")
    scores = next(iter(file.outputs))
    batch, channels, height, width = dims

    def open_session() -> Infer:
        run = file.session(threads=1)
        return lambda x: run({data: x})[scores].reshape(len(x), -1)

    return Classifier(
        name=file.name,
        form=file.form,
        backend=file.backend,
        open_session=open_session,
        param_count=file.parameter_count,
        preprocessing=file.preprocessing,
        size=None if height is None or width is None else size_of((1, 1, height, width)),
        channels=channels or 3,
        fixed_batch=batch,
        outputs=_count(file.outputs[scores][1:]),
        probabilities=file.probabilities,
        fingerprint=_digest(file.content),
    )


def _count(dims: Sequence[object]) -> int | None:
    """How many numbers of an image, None where a dimension is known only when the net runs."""
    sizes = [dim for dim in dims if isinstance(dim, int)]
    return int(np.prod(sizes)) if sizes and len(sizes) == len(dims) else None


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
