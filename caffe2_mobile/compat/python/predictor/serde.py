"""caffe2.python.predictor.serde: messages to bytes and back."""

from typing import Any


def serialize_protobuf_struct(protobuf_struct: Any) -> bytes:
    return protobuf_struct.SerializeToString()


def deserialize_protobuf_struct(serialized_protobuf: bytes, struct_type: Any) -> Any:
    return struct_type.FromString(serialized_protobuf)
