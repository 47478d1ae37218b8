"""The layer graph: what lies between a file that was read and a Caffe2 net that is written.

ONNX is converted into it, a Caffe2 net is read into it, one set of rules rewrites it, int8 starts from it.
"""

from exporters.layers.graph import Blob, Graph, Layer, Unsupported, constant
from exporters.layers.reader import read_graph
from exporters.layers.rewriting import Rule, View, rewrite
from exporters.layers.writer import write_net

__all__ = [
    "Blob",
    "Graph",
    "Layer",
    "Rule",
    "Unsupported",
    "View",
    "constant",
    "read_graph",
    "rewrite",
    "write_net",
]
