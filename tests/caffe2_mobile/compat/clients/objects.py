"""Workspaces, blobs and tensors as objects, functions as operators, blobs as bytes, immediate mode."""

import os
import tempfile

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import core, dyndep, utils, workspace
from caffe2.python.onnx.helper import c2_native_run_net, c2_native_run_op
from caffe2.python.onnx.workspace import Workspace

net = core.Net("net")
net.Sqr("x", "y")
net.Proto().external_output.append("y")

ws = workspace.C.Workspace()
print(ws.create_blob("x").feed(np.array([1, 2, 3], np.float32)), sorted(ws.blobs), ws.fetch_blob("x"), ws.has_blob("y"))
ws.run(net)
print(sorted(ws.blobs), ws.blobs["y"].fetch(), workspace.Blobs())
ws.create_net(net).run()
print(list(ws.nets), ws.blobs["y"].is_tensor(), ws.blobs["y"].tensor().shape, ws.blobs["y"].tensor().data)
ws.feed_blob("x", np.array([4], np.float32))
ws.run(net.Proto().op[0])
print(ws.fetch_blob("y"), workspace.C.Workspace.current.has_blob("y"))
ws.remove_blob("y")
print(sorted(ws.blobs))


def double(inputs, outputs):
    outputs[0].reshape(inputs[0].shape)
    outputs[0].data[...] = 2 * inputs[0].data


def feeds(inputs, outputs):
    outputs[0].feed(inputs[0].data + 1)


workspace.FeedBlob("a", np.array([1, 2], np.float32))
python = core.Net("python")
python.Python(double)(["a"], ["b"])
python.Python(feeds)(["b"], ["c"])
python.Sqr("c", "d")
workspace.CreateNet(python)
for _ in range(2):
    workspace.RunNet(python)
    print([workspace.FetchBlob(name).tolist() for name in "abcd"])
    workspace.FeedBlob("a", np.array([[3, 5]], np.float32))
workspace.RunOperatorOnce(core.CreatePythonOperator(double, ["d"], ["e"]))
print(workspace.FetchBlob("e").tolist())

for kind in ("float32", "float64", "int32", "int64", "uint8", "int8", "uint16", "int16", "bool", "float16"):
    workspace.FeedBlob("typed", np.array([[1, 0, 3]]).astype(kind))
    content = workspace.SerializeBlob("typed")
    workspace.DeserializeBlob("again", content)
    again = workspace.FetchBlob("again")
    print(kind, content, again.dtype, again.tolist())
workspace.FeedBlob("text", "abc")
print(workspace.SerializeBlob("text"))
workspace.FeedBlob("x", np.array([1, -2.5], np.float32))
workspace.RunOperatorOnce(core.CreateOperator("Int8Quantize", ["x"], ["q"], Y_scale=0.1, Y_zero_point=30))
workspace.DeserializeBlob("q2", workspace.SerializeBlob("q"))
print(workspace.SerializeBlob("q"), workspace.FetchInt8Blob("q2").data.tolist())

print(c2_native_run_op(core.CreateOperator("Relu", ["x"], ["y"]), [np.array([-1, 1], np.float32)])[1])
print(c2_native_run_net(None, net.Proto(), [np.array([3], np.float32)])[1].y)
own = Workspace()
own.FeedBlob("inside", np.zeros(1, np.float32))
print(own.Blobs(), "inside" in workspace.Blobs())
tensor = utils.NumpyArrayToCaffe2Tensor(np.array([[1, 2]], np.int64), "named")
print(tensor.name, list(tensor.dims), utils.Caffe2TensorToNumpyArray(tensor).tolist())
workspace.FeedBlob("tensor", tensor)
print(
    workspace.FetchBlob("tensor").tolist(),
    utils.NCHW2NHWC(np.zeros((1, 2, 3, 4))).shape,
    utils.NHWC2NCHW(np.zeros((1, 2, 3, 4))).shape,
)
print(utils.GetContentFromProtoString(net.Proto().SerializeToString(), {caffe2_pb2.NetDef: lambda found: found.name}))
print(workspace.InferShapesAndTypes([net], {"x": [5, 3]}))
dyndep.InitOpsLibrary("@/caffe2/nothing:here")
workspace.StartImmediate(True)
workspace.FeedImmediate("i", np.array([4], np.float32))
core.CreateOperator("Sqr", ["i"], ["j"])
print(workspace.FetchImmediate("j"), workspace.ImmediateBlobs(), "j" in workspace.Blobs())
workspace.StopImmediate()
print(
    workspace.GetBlobSizeBytes("x"),
    workspace.RunOperatorOnce(core.CreateOperator("Free", ["x"], ["x"])),
    workspace.FetchBlob("x"),
)

# What a tensor's summary says, as blob and as file.
workspace.ResetWorkspace(tempfile.mkdtemp())
workspace.FeedBlob("values", (np.arange(1000) % 37 * 0.7 - 3).astype(np.float32))
net = core.Net("summary")
net.Summarize("values", ["summary"], to_file=1)
workspace.RunNetOnce(net)
print([value.hex() for value in workspace.FetchBlob("summary").astype(float).tolist()])
summary_path = os.path.join(workspace.RootFolder(), "values.summary")
workspace.ResetWorkspace()
with open(summary_path) as file:
    print(file.read())
