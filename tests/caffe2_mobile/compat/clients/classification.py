"""Images through trained nets: a predictor, a workspace, a text form, and a quantized net."""

import os
import sys

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import core, workspace
from google.protobuf import text_format

models = sys.argv[1]
workspace.GlobalInit(["caffe2", "--caffe2_log_level=2"])


def read(*path):
    with open(os.path.join(models, *path), "rb") as f:
        return f.read()


def parse(content):
    net = caffe2_pb2.NetDef()
    net.ParseFromString(content)
    return net


def image(height, width, channels, seed):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return (np.sin((x + seed) / 9) * np.cos(y / 7 + c) * 120 + 128).astype(np.float32)


# SqueezeNet in a predictor.
predictor = workspace.Predictor(
    read("squeezenet_trafficlight", "init.pb"), read("squeezenet_trafficlight", "predict.pb")
)
for seed in range(2):
    pixels = image(227, 227, 3, seed).swapaxes(1, 2).swapaxes(0, 1)[np.newaxis] - 128
    results = np.asarray(predictor.run([pixels.astype(np.float32)]))
    print(results.shape, np.round(results, 3).reshape(-1).tolist(), int(results.argmax()))

# LeNet in the workspace, on a device that is not there.
init_net, predict_net = parse(read("mnist_lenet", "init.pb")), parse(read("mnist_lenet", "predict.pb"))
with core.DeviceScope(core.DeviceOption(caffe2_pb2.CPU, 0)):
    net = core.Net(predict_net)
    workspace.RunNetOnce(core.Net(init_net))
    data, output = str(net.external_inputs[0]), str(net.external_outputs[0])
    workspace.FeedBlob(data, image(28, 28, 1, 3).reshape(1, 1, 28, 28) / 255)
    workspace.CreateNet(net)
    workspace.RunNet(net.Proto().name)
    print(data, output, np.round(workspace.FetchBlob(output), 3).tolist())

# The same net from its text form.
text = text_format.MessageToString(predict_net)
parsed = text_format.Parse(text, caffe2_pb2.NetDef())
parsed.name = "from_text"
workspace.RunNetOnce(parsed)
print(parsed == predict_net, np.round(workspace.FetchBlob(output), 3).tolist())
inner = [op.output[0] for op in parsed.op][:3]
print(inner, [workspace.FetchBlob(name).shape for name in inner])

# A quantized MobileNet: every byte.
workspace.ResetWorkspace()
init_net = parse(read("mobilenet_v1_0.25_128_quant", "init_net.pb"))
predict_net = parse(read("mobilenet_v1_0.25_128_quant", "predict_net.pb"))
predict_net.name = predict_net.name or "quantized"
workspace.RunNetOnce(init_net)
expected = np.load(os.path.join(models, "mobilenet_v1_0.25_128_quant", "expected.npz"))
crops = expected["crops"].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
workspace.FeedBlob("data", np.zeros((1, 3, 128, 128), np.float32))
workspace.CreateNet(predict_net)
for crop, logits in zip(crops[:4], expected["logits"]):
    workspace.FeedBlob("data", crop[np.newaxis])
    workspace.RunNet(predict_net.name)
    scores = workspace.FetchBlob(predict_net.external_output[0])
    print(scores.shape, int(scores.argmax()), int(logits.argmax()), np.round(scores.max(), 4))
quantized = [op.output[0] for op in predict_net.op if op.type.startswith("Int8Conv")][-1]
blob = workspace.FetchInt8Blob(quantized)
print(quantized, blob.data.shape, int(blob.data.sum()), round(blob.scale, 6), blob.zero_point)
