"""A net built, saved for a phone and for a predictor, loaded again and run."""

import os
import tempfile

import numpy as np
from caffe2.proto import caffe2_pb2, metanet_pb2
from caffe2.python import brew, core, model_helper, workspace
from caffe2.python.predictor import mobile_exporter
from caffe2.python.predictor import predictor_exporter as pe
from caffe2.python.predictor_constants import predictor_constants as names

model = model_helper.ModelHelper(name="small")


def constant(value):
    return ("ConstantFill", {"value": value})


brew.conv(model, "data", "conv", 1, 2, kernel=3, weight_init=constant(0.1), bias_init=constant(0.5))
brew.relu(model, "conv", "conv")
brew.fc(model, "conv", "fc", 2 * 6 * 6, 3, weight_init=constant(0.01), bias_init=constant(0.0))
brew.softmax(model, "fc", "softmax")
workspace.RunNetOnce(model.param_init_net)
workspace.FeedBlob("fc_b", np.array([0.1, 0.2, 0.3], np.float32))
image = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8) / 64
workspace.FeedBlob("data", image)
workspace.CreateNet(model.net)
workspace.RunNet(model.net)
print(np.round(workspace.FetchBlob("softmax"), 4).tolist())

init_net, predict_net = mobile_exporter.Export(workspace, model.net, model.GetAllParams())
print([(op.type, list(op.output), list(op.arg[0].ints)) for op in init_net.op])
print(list(predict_net.external_input), list(predict_net.external_output), len(predict_net.op))
folder = tempfile.mkdtemp()
for name, net in (("init_net", init_net), ("predict_net", predict_net)):
    with open(os.path.join(folder, name + ".pb"), "wb") as f:
        f.write(net.SerializeToString())
    with open(os.path.join(folder, name + ".pbtxt"), "w") as f:
        f.write(str(net))

with open(os.path.join(folder, "init_net.pb"), "rb") as f:
    init = f.read()
with open(os.path.join(folder, "predict_net.pb"), "rb") as f:
    predict = f.read()
predictor = workspace.Predictor(init, predict)
(result,) = predictor.run([image])
print(np.round(result, 4).tolist())
result[:] = 0
print(np.round(predictor.run({"data": image[:, :, ::-1].copy()})[0], 4).tolist())
print(np.round(predictor.run([np.concatenate([image, image + 1])])[0], 4).tolist())
for bad in ([image] * 9, {"nothing": image}, [image.astype(np.float64)]):
    try:
        predictor.run(bad)
    except RuntimeError:
        print("RuntimeError")

# By hand, in another workspace: what most scripts do.
workspace.SwitchWorkspace("loaded", True)
init_def, predict_def = caffe2_pb2.NetDef(), caffe2_pb2.NetDef()
init_def.ParseFromString(init)
predict_def.ParseFromString(predict)
workspace.RunNetOnce(init_def)
workspace.FeedBlob("data", image)
workspace.CreateNet(predict_def)
for step in range(3):
    workspace.FeedBlob("data", image + step)
    workspace.RunNet(predict_def.name)
    print(np.round(workspace.FetchBlob("softmax"), 4).tolist(), workspace.FetchBlob("conv").shape)
workspace.FeedBlob("fc_b", np.array([3, 2, 1], np.float32))  # another parameter
workspace.RunNet(predict_def.name)
print(np.round(workspace.FetchBlob("softmax"), 4).tolist())
workspace.RunNetOnce(init_def)
workspace.FeedBlob("data", image)
workspace.RunNetOnce(predict_def)
print(np.round(workspace.FetchBlob("softmax"), 4).tolist(), workspace.Blobs())

# A predictor's database.
workspace.SwitchWorkspace("default")
meta = pe.PredictorExportMeta(
    predict_net=model.net.Proto(),
    parameters=[str(b) for b in model.params],
    inputs=["data"],
    outputs=["softmax"],
)
database = os.path.join(folder, "small.minidb")
pe.save_to_db("minidb", database, meta)
workspace.ResetWorkspace()
net = pe.prepare_prediction_net(database, "minidb")
print(net.Name(), workspace.Blobs(), workspace.FetchBlob("data").tolist() == [[[[0.0] * 8] * 8]])
workspace.FeedBlob("data", image)
workspace.RunNetOnce(net)
print(np.round(workspace.FetchBlob("softmax"), 4).tolist())
loaded = pe.load_from_db(database, "minidb")
print(
    type(loaded).__name__,
    [entry.key for entry in loaded.nets],
    [(entry.key, list(entry.value)) for entry in loaded.blobs],
)
print(names.META_NET_DEF, names.PREDICT_NET_TYPE, metanet_pb2.MetaNetDef().modelInfo.predictorType)
workspace.ResetWorkspace()
workspace.RunOperatorOnce(
    core.CreateOperator("Load", [], [], db=database, db_type="minidb", absolute_path=1, load_all=1)
)
print(workspace.Blobs(), workspace.FetchBlob("fc_b").round(4).tolist())
for op in (
    core.CreateOperator("Load", [], ["nothing"], db=database, db_type="minidb", absolute_path=1),
    core.CreateOperator("Load", [], ["x"], db=database + "x", db_type="minidb", absolute_path=1),
    core.CreateOperator("Save", ["fc_b"], [], db=database, db_type="oracle", absolute_path=1),
):
    try:
        workspace.RunOperatorOnce(op)
    except RuntimeError:
        print("RuntimeError")
