"""What an introduction shows: blobs, operators, nets written operator by operator, errors."""

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import core, workspace


def show(label, call):
    try:
        result = call()
    except Exception as error:
        print(label, "raises", type(error).__name__)
    else:
        print(label, result.tolist() if isinstance(result, np.ndarray) else result)


x = np.array([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]], np.float32)
show("feed", lambda: workspace.FeedBlob("x", x))
x[:] = 0  # what was fed is a copy
show("fetch", lambda: workspace.FetchBlob("x"))
workspace.FetchBlob("x")[:] = 7  # and so is what was fetched
show("fetch again", lambda: workspace.FetchBlob("x"))
for kind in ("float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool"):
    workspace.FeedBlob("typed", np.array([1, 0, 3]).astype(kind))
    show(kind, lambda: workspace.FetchBlob("typed").dtype.name)
for value in (np.zeros(2, np.uint32), np.zeros(2, np.complex64), [1, 2], 3, np.float32(2)):
    show(f"feed {type(value).__name__}", lambda: workspace.FeedBlob("bad", value))
show("text", lambda: (workspace.FeedBlob("text", "abc"), workspace.FetchBlob("text")))
show("texts", lambda: (workspace.FeedBlob("texts", np.array(["a", "bc"])), workspace.FetchBlob("texts").tolist()))
show("scalar", lambda: (workspace.FeedBlob("scalar", np.array(2.5, np.float32)), workspace.FetchBlob("scalar").shape))
show(
    "transposed",
    lambda: (workspace.FeedBlob("turned", np.arange(6).reshape(2, 3).T), workspace.FetchBlob("turned").tolist()),
)
show("missing", lambda: workspace.FetchBlob("nothing"))
show("has", lambda: (workspace.HasBlob("x"), workspace.HasBlob("nothing")))
workspace.CreateBlob("empty")
show("empty", lambda: workspace.FetchBlob("empty"))
show("blobs", workspace.Blobs)
workspace.ResetBlob("x")
show("reset blob", lambda: (workspace.HasBlob("x"), workspace.FetchBlob("x")))

print(workspace.CurrentWorkspace(), workspace.Workspaces())
show("switch", lambda: workspace.SwitchWorkspace("other"))
workspace.SwitchWorkspace("other", True)
print(workspace.CurrentWorkspace(), workspace.Workspaces(), workspace.Blobs())
workspace.SwitchWorkspace("default")
show("reset", workspace.ResetWorkspace)
show("blobs", workspace.Blobs)

net = core.Net("first")
print(net.Name(), core.Net("first").Name(), core.Net("first").Name())
y = net.Relu("x", "y")
z = y.Sigmoid([], "z")
print(repr(y), z, net.Proto().external_input, [op.type for op in net.Proto().op])
show("create", lambda: workspace.CreateNet(net))
workspace.FeedBlob("x", np.array([[-1, 2]], np.float32))
show("create", lambda: workspace.CreateNet(net))
show("create again", lambda: workspace.CreateNet(net))
show("overwrite", lambda: workspace.CreateNet(net, overwrite=True))
show("not run yet", lambda: workspace.FetchBlob("y"))
show("run", lambda: workspace.RunNet(net))
show("y", lambda: workspace.FetchBlob(y))
show("z", lambda: np.round(workspace.FetchBlob("z"), 4))
show("by name", lambda: workspace.RunNet("first"))
show("by definition's name", lambda: workspace.RunNet(net.Proto().name, 2))
show("unknown net", lambda: workspace.RunNet("none"))
show("a definition", lambda: workspace.RunNet(net.Proto()))
workspace.FeedBlob("x", np.array([[3, -4], [5, -6]], np.float32))  # another shape
show("run", lambda: workspace.RunNet("first"))
show("y", lambda: workspace.FetchBlob("y"))
show("dictionary", lambda: (len(workspace.blobs), "y" in workspace.blobs, workspace.blobs["y"].tolist()))
workspace.blobs["x"] = np.array([[9, -9]], np.float32)
show("dictionary", lambda: workspace.blobs["x"].tolist())

show("in place", lambda: workspace.RunOperatorOnce(core.CreateOperator("Relu", ["x"], ["x"])))
show("x", lambda: workspace.FetchBlob("x"))
show("no input", lambda: workspace.RunOperatorOnce(core.CreateOperator("Relu", ["q"], ["r"])))
show("no operator", lambda: workspace.RunOperatorOnce(core.CreateOperator("Bogus", ["x"], ["r"])))
show("inputs", lambda: workspace.RunOperatorOnce(core.CreateOperator("Relu", ["x", "y"], ["r"])))
workspace.FeedBlob("image", np.ones((1, 4, 2, 2), np.float32))
workspace.FeedBlob("w", np.ones((2, 3, 1, 1), np.float32))
show("shapes", lambda: workspace.RunOperatorOnce(core.CreateOperator("Conv", ["image", "w"], ["r"], kernel=1)))
workspace.FeedBlob("image", np.ones((1, 3, 2, 2)))
show("double", lambda: workspace.RunOperatorOnce(core.CreateOperator("Conv", ["image", "w"], ["r"], kernel=1)))
show("message", lambda: workspace.RunNetOnce(net.Proto()))
show("serialized", lambda: workspace.RunNetOnce(net.Proto().SerializeToString()))
show("no name", lambda: workspace.CreateNet(caffe2_pb2.NetDef()))
show("operators", lambda: [core.IsOperator(name) for name in ("Relu", "Bogus", "Int8Conv", "Adam", "Python")])
show("method", lambda: net.Bogus("x"))
show("names", lambda: (str(net.Relu("x")), str(net.Relu("x")), net.NextName(), [str(b) for b in net.Split("x", 2)]))
show(
    "sources",
    lambda: (
        net.Proto().external_input.remove("x"),
        net.Proto().external_input.append("w"),
        workspace.CreateNet(net, True),
    ),
)
show("steps", lambda: workspace.RunPlan(core.Plan(core.ExecutionStep("steps", [core.Net("nothing")], num_iter=3))))
show("gpu", lambda: (workspace.has_gpu_support, workspace.NumCudaDevices(), workspace.GpuDeviceType == caffe2_pb2.CUDA))
