"""The preprocessing that a Caffe2 net's file records, as an argument of its NetDef."""

from caffe2_common.preprocessing import KEY, Preprocessing
from caffe2_models.proto import caffe2_pb2


def get_preprocessing(net: caffe2_pb2.NetDef) -> Preprocessing | None:
    """What the net's file says of its input, or None where it says nothing."""
    for argument in net.arg:
        if argument.name == KEY:
            return Preprocessing.from_json(argument.s)
    return None


def set_preprocessing(net: caffe2_pb2.NetDef, preprocessing: Preprocessing) -> None:
    """Record the preprocessing in the net, in place of what it said before."""
    kept = [argument for argument in net.arg if argument.name != KEY]
    del net.arg[:]
    net.arg.extend(kept)
    net.arg.add(name=KEY, s=preprocessing.to_json().encode())
