"""Nets as brew, cnn and ModelHelper write them, and their parameters."""

import logging

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import brew, cnn, core, model_helper, scope, utils, workspace

logging.disable(logging.WARNING)


def show(net):
    """A net's definition, without what printing differs in between versions of protobuf."""
    proto = net.Proto()
    print("net", proto.name, list(proto.external_input), list(proto.external_output))
    for op in proto.op:
        arguments = {
            arg.name: arg.f
            if arg.HasField("f")
            else arg.i
            if arg.HasField("i")
            else arg.s
            if arg.HasField("s")
            else list(arg.ints)
            for arg in op.arg
        }
        rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in arguments.items()}
        print(
            " ",
            op.type,
            list(op.input),
            list(op.output),
            sorted(rounded.items()),
            op.engine,
            op.device_option.device_type,
        )


model = model_helper.ModelHelper(name="lenet", arg_scope={"order": "NCHW"})
conv1 = brew.conv(model, "data", "conv1", dim_in=1, dim_out=4, kernel=5)
pool1 = brew.max_pool(model, conv1, "pool1", kernel=2, stride=2)
conv2 = brew.conv(model, pool1, "conv2", dim_in=4, dim_out=6, kernel=[3, 1], pad=1, no_bias=True)
bn = brew.spatial_bn(model, conv2, "bn", 6, epsilon=1e-3, is_test=True)
bn = brew.relu(model, bn, bn)
gate = brew.average_pool(model, bn, "gate", global_pooling=True)
both = brew.concat(model, [bn, bn], "both", axis=1)
mixed = brew.group_conv(model, both, "mixed", 12, 4, kernel=1, group=2)
up = brew.conv_transpose(model, mixed, "up", 4, 2, kernel=2, stride=2)
up = brew.prelu(model, up, "prelu", num_channels=2)
norm = brew.lrn(model, up, "norm", size=3, alpha=0.0001, beta=0.75, bias=1.0)
drop = brew.dropout(model, norm, "drop", is_test=1)
with brew.arg_scope([brew.fc], weight_init=("ConstantFill", {"value": 0.01})):
    fc = brew.fc(model, drop, "fc", dim_in=2 * 10 * 14, dim_out=10)
softmax = brew.softmax(model, fc, "softmax")
show(model.param_init_net)
show(model.net)
print([str(p) for p in model.params], [str(p) for p in model.GetComputedParams()], [str(w) for w in model.weights])
print([str(b) for b in model.biases], len(model.GetAllParams()))

workspace.RunNetOnce(model.param_init_net)
workspace.FeedBlob("data", np.random.RandomState(0).rand(2, 1, 14, 14).astype(np.float32))
workspace.CreateNet(model.net)
workspace.RunNet(model.net)
for name in ("conv1", "pool1", "conv2", "bn", "gate", "both", "mixed", "up", "prelu", "norm", "drop", "fc", "softmax"):
    print(name, workspace.FetchBlob(name).shape)
print(np.round(workspace.FetchBlob("softmax").sum(axis=1), 4))
weights = workspace.FetchBlob("conv1_w")
print(weights.shape, bool(np.abs(weights).max() <= np.sqrt(3 / 25)), bool(weights.std() > 0.05))

# Parameters that are there already, names in scopes, and devices.
with core.NameScope("outer"):
    with core.NameScope("inner"):
        named = model_helper.ModelHelper(name="named", init_params=False)
        brew.fc(named, "x", "y", 3, 2)
        print(core.ScopedName("z"), scope.CurrentNameScope())
    print(core.ScopedBlobReference("z"))
show(named.param_init_net)
show(named.net)
with core.DeviceScope(core.DeviceOption(caffe2_pb2.CPU, 0, random_seed=5)):
    seeded = core.CreateOperator("UniformFill", [], ["u"], shape=[3], min=1.0, max=2.0)
print(seeded.device_option.random_seed, utils.ArgsToDict(seeded.arg)["shape"])
workspace.RunOperatorOnce(seeded)
print(bool((workspace.FetchBlob("u") >= 1).all()), workspace.FetchBlob("u").dtype)

for fill, arguments in [
    ("GaussianFill", dict(mean=3.0, std=0.5)),
    ("UniformFill", dict(min=-1.0, max=3.0)),
    ("XavierFill", {}),
    ("MSRAFill", {}),
]:
    values = []
    for name in ("first", "second"):
        workspace.RunOperatorOnce(core.CreateOperator(fill, [], [name], shape=[100, 20, 5, 5], **arguments))
        values.append(workspace.FetchBlob(name))
    print(
        fill,
        values[0].shape,
        values[0].dtype,
        np.round(abs(values[0].mean()), 1),
        np.round(10 * values[0].std() if fill != "UniformFill" else 12 * values[0].var()),
        bool((values[0] == values[1]).all()),
    )

# The older model helper.
old = cnn.CNNModelHelper(order="NCHW", name="old")
old.Conv("data", "c", 1, 3, 3, weight_init=old.ZeroInit, bias_init=old.ConstantInit(2.0))
old.Relu("c", "c")
old.MaxPool("c", "p", kernel=2, stride=2)
old.FC("p", "f", 3 * 6 * 6, 2, old.ConstantInit(0.5), old.ZeroInit)
old.Softmax("f", "s")
show(old.net)
workspace.RunNetOnce(old.param_init_net)
workspace.RunNetOnce(old.net)
print(workspace.FetchBlob("f").tolist(), workspace.FetchBlob("s").tolist())

# Arguments.
for value in (1, 1.5, True, "text", b"bytes", [1, 2], [1.0, 2.0], ["a", "b"], np.arange(3), np.ones(2, np.float32), []):
    argument = utils.MakeArgument("name", value)
    print([field.name for field, _ in argument.ListFields()], utils.ArgsToDict([argument])["name"])
for bad in ([1, 2.0], {1: object()}, object()):
    try:
        utils.MakeArgument("name", bad)
    except ValueError:
        print("ValueError")

net = core.Net("copied")
net.Relu("a", "b")
net.Tanh("b", "c")
net.Sigmoid("c", "d")
clone = net.Clone("clone", {"a": "aa", "d": "dd"})
show(clone)
part, outputs = net.ClonePartial("part", {"b": "bb"}, ["c"])
show(part)
print(outputs)
print(core.get_ssa(net))
appended = core.Net("appended").AppendNet(net).AppendNet(clone)
show(appended)
print(
    net.BlobIsDefined("c"), net.BlobIsDefined("z"), sorted(net.UsedBlobNames()), net.UsesBlob("d"), net.external_inputs
)
predict, parameters = model_helper.ExtractPredictorNet(model.net.Proto(), ["data"], ["softmax"])
print(
    len(predict.Proto().op),
    sorted(predict.Proto().external_input),
    sorted(predict.Proto().external_output),
    sorted(map(str, parameters)),
)
