"""What the real Caffe2 1.8.1 computed for a small case of every operator, recorded by scripts/make_goldens.py."""

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from caffe2_models import Int8Tensor, Net
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Value

FILE = Path(__file__).with_name("goldens.npz")


@dataclass
class Golden:
    """A net, what is fed and what came out."""

    net: Net
    feeds: dict[str, Value] = field(default_factory=dict)
    results: dict[str, Value] = field(default_factory=dict)


def encode(kind: str, net: Net, feeds: dict[str, Value], results: dict[str, Value]) -> dict[str, np.ndarray]:
    """A golden as arrays of an .npz file: KIND:in:BLOB, KIND:out:BLOB, with .scale and .zero_point where quantized."""
    nets = {"predict": net.predict, "init": net.init}
    arrays = {f"{kind}:{part}": np.frombuffer(proto.SerializeToString(), np.uint8) for part, proto in nets.items()}
    for part, blobs in (("in", feeds), ("out", results)):
        for name, value in blobs.items():
            key = f"{kind}:{part}:{name}"
            if isinstance(value, Int8Tensor):
                arrays[f"{key}.scale"] = np.float32(value.scale)
                arrays[f"{key}.zero_point"] = np.int32(value.zero_point)
                value = value.data
            arrays[key] = value
    return arrays


@functools.cache
def load_goldens() -> dict[str, Golden]:
    """Operator -> its golden."""
    goldens: dict[str, Golden] = {}
    with np.load(FILE) as file:
        for key in file.files:
            kind, part, *name = key.split(":", 2)
            if part == "predict":
                protos = (caffe2_pb2.NetDef.FromString(file[f"{kind}:{p}"].tobytes()) for p in ("predict", "init"))
                goldens[kind] = Golden(Net(*protos))
            elif name and f"{key}.scale" in file.files:
                value = Int8Tensor(file[key], float(file[f"{key}.scale"]), int(file[f"{key}.zero_point"]))
                (goldens[kind].feeds if part == "in" else goldens[kind].results)[name[0]] = value
            elif name and not name[0].endswith((".scale", ".zero_point")):
                (goldens[kind].feeds if part == "in" else goldens[kind].results)[name[0]] = file[key]
    return goldens
