"""What Caffe2 1.8.1 lacks of ONNX operators that are refused: what a refusal says."""

_SEQUENCES = "Caffe2 has no sequences of tensors"
_RANDOM = "Caffe2's UniformFill and GaussianFill have no argument seed, so that no two runs are alike"

MISSING = {
    "If": "Caffe2's If makes no blobs of two shapes",
    "BitCast": "Caffe2 does not read bits as another type",
    "Loop": "Caffe2's ONNXWhile has no scan outputs; only loops whose turns are counted before are unrolled",
    "Scan": "Caffe2 has no Scan; from opset 9 on it is unrolled, up to 1,024 turns",
    "SplitToSequence": _SEQUENCES,
    "SequenceConstruct": _SEQUENCES,
    "SequenceAt": _SEQUENCES,
    "ConcatFromSequence": _SEQUENCES,
    "OptionalGetElement": "Caffe2 has no optional values",
    "RandomNormalLike": _RANDOM,
    "RandomUniformLike": _RANDOM,
    "RandomNormal": _RANDOM,
    "RandomUniform": _RANDOM,
    "Multinomial": _RANDOM,
}


def lack(kind: str) -> str:
    """Why an ONNX operator (with its domain, unless ONNX's own) is not converted."""
    return MISSING.get(kind, f"Caffe2 has no {kind.rpartition('.')[2]}")
