"""What the backend takes beyond what Caffe2 1.8.1 took."""

import onnx
import pytest
from onnx import TensorProto, helper

from caffe2_mobile.compat.python.onnx.backend import Caffe2Backend


@pytest.mark.parametrize("opset", [5, 9])
def test_a_graph_is_converted_as_its_model_is(opset):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "small", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    of_graph = Caffe2Backend.onnx_graph_to_caffe2_net(model.graph, opset_version=opset)
    assert of_graph == Caffe2Backend.onnx_graph_to_caffe2_net(model)
    assert [op.type for op in of_graph[1].op] == ["Relu"]


def test_the_operator_set_of_a_graph_is_its_callers_word():
    """Squeeze tells its axes by an attribute before set 13, and by an input from there on."""
    values = [
        helper.make_tensor_value_info(*kind)
        for kind in (("x", TensorProto.FLOAT, [1, 3]), ("y", TensorProto.FLOAT, [3]))
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    graph = helper.make_graph(
        [helper.make_node("Squeeze", ["x", "axes"], ["y"])], "new", values[:1], values[1:], [axes]
    )
    assert Caffe2Backend.onnx_graph_to_caffe2_net(graph, opset_version=13)[1].op[0].type == "Squeeze"
    with pytest.raises(RuntimeError, match="ONNX conversion failed"):
        Caffe2Backend.onnx_graph_to_caffe2_net(onnx.GraphProto.FromString(graph.SerializeToString()))
