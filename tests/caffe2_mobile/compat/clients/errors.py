"""Errors that scripts show or match: what Caffe2 says first, and of which operator."""

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import core, workspace


def show(what, function, until="\n"):
    try:
        print(what, "->", function())
    except Exception as error:
        print(what, "->", type(error).__name__, str(error).split(until)[0])


def run(*args, **kwargs):
    return workspace.RunOperatorOnce(core.CreateOperator(*args, **kwargs))


def net(name, *ops, **fields):
    return caffe2_pb2.NetDef(name=name, op=ops, **fields)


relu = core.CreateOperator("Relu", ["x"], ["y"])
workspace.FeedBlob("x", np.zeros((1, 3, 4, 4), np.float32))
workspace.CreateBlob("empty")

show("a blob that is not there", lambda: workspace.FetchBlob("unicorn"))
show("a quantized one", lambda: workspace.FetchInt8Blob("unicorn"))
show("by index", lambda: workspace.blobs["unicorn"])
show("no blob of a tensor", lambda: workspace.FetchBlob("empty"))
show("an input that is not there", lambda: run("Relu", ["nothing"], ["y"]))
show("one of a net", lambda: workspace.CreateNet(net("missing", core.CreateOperator("Relu", ["nothing"], ["y"]))))
show("an operator that is not there", lambda: run("NoSuchOperator", ["x"], ["y"], kernel=3))
show("a net that is not there", lambda: workspace.RunNet("nowhere"))
show("a workspace that is not there", lambda: workspace.SwitchWorkspace("nowhere"), until=". ")
show("what is no array", lambda: workspace.FeedBlob("list", [1, 2]))
show("a net without a name", lambda: workspace.CreateNet(caffe2_pb2.NetDef()))
workspace.CreateNet(net("twice", relu))
show("a net twice", lambda: workspace.CreateNet(net("twice", relu)))
show("an output that nothing makes", lambda: workspace.CreateNet(net("unmade", relu, external_output=["zzz"])))
show("an unknown source", lambda: workspace.CreateNet(net("source", relu, external_input=["other"])))
# A predictor sees the blobs of the workspace that it was made in.
run_net = net("run", relu, external_output=["y"])
predictor = workspace.Predictor(net("init").SerializeToString(), run_net.SerializeToString())
print([array.shape for array in predictor.run([])])
show("a predictor's other input", lambda: predictor.run({"other": np.zeros(3, np.float32)}))
show("too many inputs", lambda: predictor.run([np.zeros(3, np.float32)]), until=". ")

# What an operator says of shapes differs; which one it was does not.
for what, function in {
    "shapes": lambda: run("Add", ["x", "w"], ["y"], broadcast=1),
    "channels": lambda: run("Conv", ["x", "w"], ["y"], kernel=3),
}.items():
    workspace.FeedBlob("w", np.zeros((4, 2, 3, 3), np.float32))
    try:
        function()
    except RuntimeError as error:
        text = str(error)
        print(what, "(Error from operator: \n" in text, text.split("(Error from operator: \n")[1].split(")")[0])
