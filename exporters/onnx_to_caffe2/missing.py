"""What Caffe2 1.8.1 lacks of ONNX operators that are refused: what a refusal says."""

_FOURIER = "Caffe2 has no Fourier transform"
_PLACES = "Caffe2 gathers and scatters along one dimension only"
_SEQUENCES = "Caffe2 has no sequences of tensors"
_RANDOM = "random numbers, which no two runtimes draw alike"
_INTEGERS = "Caffe2's integer arithmetic (Int8...) takes scales that are constants, in QDQ or QLinear form"

MISSING = {
    "DFT": _FOURIER,
    "STFT": _FOURIER,
    "MelWeightMatrix": "Caffe2 has no filter banks",
    "GridSample": "Caffe2 samples images at no places that are computed, but for boxes (RoIAlign)",
    "AffineGrid": "Caffe2 samples images at no places that are computed, but for boxes (RoIAlign)",
    "DeformConv": "Caffe2 has it on GPUs only",
    "MaxUnpool": "Caffe2's MaxPool does not tell where its maxima are",
    "NonMaxSuppression": "Caffe2's BoxWithNMSLimit gives boxes, not their places in the list",
    "GatherND": _PLACES,
    "ScatterND": _PLACES,
    "TensorScatter": _PLACES,
    "Det": "Caffe2 has no determinants",
    "BitCast": "Caffe2 does not read bits as another type",
    "Loop": "Caffe2's loops are nets that it runs; only what is constant is unrolled here",
    "Scan": "Caffe2's loops are nets that it runs; only what is constant is unrolled here",
    "Mod": "Caffe2's Mod takes integers",
    "ConvInteger": _INTEGERS,
    "MatMulInteger": _INTEGERS,
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
