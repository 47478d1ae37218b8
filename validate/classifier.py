"""A net of any form, as the validator sees it: images in, scores out."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import KEY, Preprocessing
from caffe2_common.sizes import Size, size_of
from caffe2_models import Int8Tensor, Net
from caffe2_models.find import find_net
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.published import canonical_name
from caffe2_models.runtimes import fastest_exact, missing_kernels

MAX_ONNX_BYTES = 1 << 31
SOFTMAX = {"Softmax", "Int8Softmax"}
QUANTIZED = {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger"}

Infer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Classifier:
    """A net that scores classes.

    open_session() gives a function from float32 [n, channels, size, size] to scores [n, classes] for the
    use of one thread; it may be called several times, and sessions run side by side, each on one core,
    unless the net is to have only a lone_session, which then takes all cores. form is caffe2-fp32,
    caffe2-int8, onnx, onnx-int8, pytorch or pytorch-int8; preprocessing, size and outputs (how many scores) are what
    the file itself tells; param_count counts numbers; fixed_batch is the only batch size the net takes, if there is
    one; probabilities says that the scores are a softmax's; fingerprint tells one net from another; notes are what the
    user should know of how it runs.
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


def load_onnx(place: str | os.PathLike[str]) -> Classifier:
    """An ONNX file, run by ONNX Runtime; raises ModelError where it is no classifier of images."""
    import onnx
    import onnxruntime

    from caffe2_models.runtimes.onnx_runtime import open_session

    path = Path(place)
    if path.stat().st_size > MAX_ONNX_BYTES:
        raise ModelError(f"{path}: is larger than {MAX_ONNX_BYTES >> 30} GiB, which no mobile net is")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        model = onnx.load(path, load_external_data=False)
        session = open_session(os.fspath(path), options)
    except Exception as error:  # protobuf's and ONNX Runtime's own kinds, which share no base
        raise ModelError(f"{path}: cannot be loaded as ONNX ({_first_line(error)})") from None
    if len(session.get_inputs()) != 1:
        raise ModelError(f"{path}: has {len(session.get_inputs())} inputs; a classifier has one, the image")
    data, scores = session.get_inputs()[0], session.get_outputs()[0].name
    if len(data.shape) != 4 or data.type != "tensor(float)":
        raise ModelError(f"{path}: input {data.name} is {data.type} {data.shape}; float images in NCHW were expected")
    batch, channels, height, width = (dim if isinstance(dim, int) else None for dim in data.shape)

    def infer(x: np.ndarray) -> np.ndarray:
        try:
            return session.run([scores], {data.name: x})[0].reshape(len(x), -1)
        except Exception as error:  # likewise
            raise ModelError(f"{path}: does not run on {list(x.shape)} ({_first_line(error)})") from None

    recorded = session.get_modelmeta().custom_metadata_map.get(KEY)
    producers = [node.op_type for node in model.graph.node if scores in node.output]
    return Classifier(
        name=path.stem,
        form="onnx-int8" if QUANTIZED & {node.op_type for node in model.graph.node} else "onnx",
        backend="onnxruntime",
        open_session=lambda: infer,
        param_count=sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer),
        preprocessing=Preprocessing.from_json(recorded) if recorded else None,
        size=None if height is None or width is None else size_of((1, 1, height, width)),
        channels=channels or 3,
        fixed_batch=batch,
        outputs=_count(session.get_outputs()[0].shape[1:]),
        probabilities=bool(producers) and producers[-1] in SOFTMAX,
        fingerprint=_digest(path.read_bytes()),
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


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
