"""A model in ONNX through Caffe2's backend and back, as converters and their users call it."""

import numpy as np
import onnx
from caffe2.python import workspace
from caffe2.python.onnx import backend, frontend
from caffe2.python.onnx.backend import Caffe2Backend
from caffe2.python.onnx.helper import c2_native_run_net
from caffe2.python.predictor import mobile_exporter
from onnx import TensorProto, helper, numpy_helper

random = np.random.RandomState(0)


def parameter(name, *shape):
    return numpy_helper.from_array((random.rand(*shape) - 0.5).astype(np.float32), name)


nodes = [
    helper.make_node("Conv", ["image", "w", "b"], ["conv"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    helper.make_node("Relu", ["conv"], ["relu"]),
    helper.make_node("MaxPool", ["relu"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
    helper.make_node("Sigmoid", ["pool"], ["gate"]),
    helper.make_node("Mul", ["pool", "gate"], ["swish"]),
    helper.make_node("GlobalAveragePool", ["swish"], ["mean"]),
    helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
    helper.make_node("Gemm", ["flat", "fc_w", "fc_b"], ["scores"], transB=1),
]
weights = [parameter("w", 6, 3, 3, 3), parameter("b", 6), parameter("fc_w", 4, 6), parameter("fc_b", 4)]
inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2, 3, 16, 16])]
inputs += [helper.make_tensor_value_info(w.name, TensorProto.FLOAT, w.dims) for w in weights]
outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [2, 4])]
graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)
image = random.rand(2, 3, 16, 16).astype(np.float32)

prepared = backend.prepare(model, device="CPU")
result = prepared.run({"image": image})
print(type(result).__name__, result._fields, np.round(result.scores, 4).tolist())
print(np.round(prepared.run([image])[0], 4).tolist())
print(np.round(prepared.run(image)[0], 4).tolist())
print(np.round(backend.run_model(model, [image * 2]).scores, 4).tolist())
try:
    prepared.run([image, image])
except RuntimeError:
    print("RuntimeError")
print(prepared.uninitialized, prepared.predict_net.name, list(prepared.predict_net.external_output))
print(backend.supports_device("CPU"), backend.supports_device("CUDA"))

# To nets, run by hand.
init_net, predict_net = Caffe2Backend.onnx_graph_to_caffe2_net(model)
print(init_net.name, predict_net.name, predict_net.external_input[0], list(predict_net.external_output))
workspace.RunNetOnce(init_net)
workspace.FeedBlob("image", image)
workspace.CreateNet(predict_net)
workspace.RunNet(predict_net.name)
print(np.round(workspace.FetchBlob("scores"), 4).tolist())

# To a phone's nets, from what was prepared.
exported_init, exported_predict = mobile_exporter.Export(
    prepared.workspace, prepared.predict_net, [name for name in prepared.predict_net.external_input if name != "image"]
)
predictor = workspace.Predictor(exported_init.SerializeToString(), exported_predict.SerializeToString())
print(np.round(predictor.run({"image": image})[0], 4).tolist())

# One node, and back to ONNX.
node = helper.make_node("Add", ["x", "y"], ["z"])
print(backend.run_node(node, [np.array([1, 2], np.float32), np.array([3, 5], np.float32)]).z.tolist())
again = frontend.caffe2_net_to_onnx_model(predict_net, init_net, {"image": (TensorProto.FLOAT, (2, 3, 16, 16))})
onnx.checker.check_model(again)
print(np.round(backend.run_model(again, [image])[0], 4).tolist())
print(np.round(c2_native_run_net(init_net, predict_net, {"image": image})[1].scores, 4).tolist())
