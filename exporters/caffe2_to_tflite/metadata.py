"""What a .tflite file tells of itself: TFLite's metadata (metadata_schema.fbs 1.0.0) and the preprocessing record.

The schema's Python classes come with no package that is kept up, and few of its tables are needed: they are written by
their fields' numbers.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence

import flatbuffers

from caffe2_common.preprocessing import KEY, Preprocessing
from caffe2_models import origin
from exporters.caffe2_to_tflite.graph import Tensor

LABELS = "labels.txt"  # a file in the archive behind the model

# Unions and enumerations of the schema
IMAGE_PROPERTIES, NORMALIZATION_OPTIONS, TENSOR_AXIS_LABELS, RGB = 2, 1, 2, 1


def metadata(
    name: str,
    preprocessing: Preprocessing | None,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    labels: Sequence[str] = (),
    record: bytes = b"",
) -> dict[str, bytes]:
    """The model's metadata entries: how images become inputs, and where the labels of the first output are.

    record: of the net that it is made from.
    """
    entries = {"TFLITE_METADATA": _model_metadata(name, preprocessing, inputs, outputs, labels)}
    if preprocessing is not None:
        entries[KEY] = preprocessing.to_json().encode()
    if record:
        entries[origin.KEY] = record
    return entries


def with_labels(model: bytes, labels: Sequence[str]) -> bytes:
    """The model with an archive of its labels behind it, as TFLite's libraries read them."""
    if not labels:
        return model
    archive = io.BytesIO(model)
    archive.seek(0, io.SEEK_END)
    with zipfile.ZipFile(archive, "a") as files:
        files.writestr(zipfile.ZipInfo(LABELS), "\n".join(labels) + "\n")
    return archive.getvalue()


def _model_metadata(
    name: str,
    preprocessing: Preprocessing | None,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    labels: Sequence[str],
) -> bytes:
    builder = flatbuffers.Builder(1024)
    described = [_input(builder, blob, tensor, preprocessing) for blob, tensor in inputs.items()]
    first = [labels, *([()] * len(outputs))]
    results = [_output(builder, blob, names) for blob, names in zip(outputs, first, strict=False)]
    graph = _table(
        builder, 4, {0: builder.CreateString(name), 2: _vector(builder, described), 3: _vector(builder, results)}
    )
    fields = {0: builder.CreateString(name), 1: builder.CreateString("converted from Caffe2 by caffe2-mobile")}
    fields |= {3: _vector(builder, [graph]), 7: builder.CreateString("1.0.0")}
    builder.Finish(_table(builder, 8, fields), file_identifier=b"M001")
    return bytes(builder.Output())


def _input(builder: flatbuffers.Builder, blob: str, tensor: Tensor, preprocessing: Preprocessing | None) -> int:
    fields = {0: builder.CreateString(blob)}
    if len(tensor.shape) == 4 and preprocessing is not None and len(preprocessing.mean) == tensor.shape[1]:
        text = f"image, channels {preprocessing.channel_order}, (pixel - mean) / std"
        fields[1] = builder.CreateString(text)
        pixels = [
            [value * preprocessing.divisor for value in values] for values in (preprocessing.mean, preprocessing.std)
        ]
        options = _table(builder, 2, {i: _floats(builder, values) for i, values in enumerate(pixels)})
        unit = _union(builder, NORMALIZATION_OPTIONS, options)
        color = RGB if preprocessing.channel_order == "RGB" else 0
        builder.StartObject(2)
        builder.PrependInt8Slot(0, color, 0)
        content = _union(builder, IMAGE_PROPERTIES, builder.EndObject())
        fields |= {3: content, 4: _vector(builder, [unit])}
    return _table(builder, 7, fields)


def _output(builder: flatbuffers.Builder, blob: str, labels: Sequence[str]) -> int:
    fields = {0: builder.CreateString(blob)}
    if labels:
        name = builder.CreateString(LABELS)
        builder.StartObject(4)
        builder.PrependUOffsetTRelativeSlot(0, name, 0)
        builder.PrependInt8Slot(2, TENSOR_AXIS_LABELS, 0)
        fields[6] = _vector(builder, [builder.EndObject()])
    return _table(builder, 7, fields)


def _table(builder: flatbuffers.Builder, size: int, fields: Mapping[int, int]) -> int:
    """A table of `size` fields, of which those that hold strings, vectors or tables are given by number."""
    builder.StartObject(size)
    for number, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    return builder.EndObject()


def _union(builder: flatbuffers.Builder, kind: int, content: int) -> int:
    """A table whose first field is a union: the kind's number, and a table of it."""
    builder.StartObject(3)
    builder.PrependUint8Slot(0, kind, 0)
    builder.PrependUOffsetTRelativeSlot(1, content, 0)
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for offset in reversed(tables):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()
