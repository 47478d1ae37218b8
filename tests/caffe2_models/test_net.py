"""Nets: what goes in, what comes out, and how their graphs are read."""

import numpy as np
import pytest
from google.protobuf import text_format

from caffe2_common.preprocessing import Preprocessing
from caffe2_models import Int8Tensor, ModelError, Net, TensorType, load_net
from caffe2_models.build import add_fill, add_operator, make_init
from caffe2_models.files import read_init, read_net
from caffe2_models.kernels import is_available
from caffe2_models.preprocessing import set_input_dims, set_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes import BACKENDS, fastest_exact
from caffe2_models.wire import length_delimited

BACKENDS_HERE = ["reference", "onnxruntime"]


def parse(text: str) -> caffe2_pb2.NetDef:
    return text_format.Parse(text, caffe2_pb2.NetDef())


def test_inputs_are_read_and_not_filled():
    predict = parse("""
        op { type: "FC" input: "x" input: "w" input: "b" output: "y" }
        external_input: "x" external_input: "w" external_input: "b" external_input: "a_queue"
    """)
    net = Net(predict, make_init({"w": np.zeros((1, 2), np.float32), "b": np.zeros(1, np.float32)}))
    assert net.inputs == ["x"] and net.outputs == ["y"]
    assert Net(predict).inputs == ["x", "w", "b"]


def test_inputs_of_a_file_that_names_none():
    net = Net(parse("""
        op { type: "Relu" input: "x" output: "h" }
        op { type: "Add" input: "h" input: "z" output: "y" }
    """))  # fmt: skip
    assert net.inputs == ["x", "z"] and net.outputs == ["y"]


def test_a_stand_in_fill_is_an_input():
    """Some init nets end with a fill of the data blob: its shape is the input's."""
    init = make_init({"w": np.zeros((4, 3, 1, 1), np.float32)})
    init.op.add(type="ConstantFill", output=["data"]).arg.add(name="shape").ints.extend([1, 3, 20, 30])
    predict = parse('op { type: "Conv" input: "data" input: "w" output: "y" arg { name: "kernel" i: 1 } }')
    net = Net(predict, init)
    assert net.inputs == ["data"] and set(net.parameters) == {"w"}
    assert net.input_shapes() == {"data": (1, 3, 20, 30)}
    assert net.input_shapes(batch=5) == {"data": (5, 3, 20, 30)}
    assert net.session().run({"data": np.zeros((2, 3, 4, 4), np.float32)})["y"].shape == (2, 4, 4, 4)


def test_shapes_that_are_told_stand_beside_those_that_are_recorded():
    predict = caffe2_pb2.NetDef(external_input=["a", "b"], external_output=["c"])
    predict.op.add(type="Add", input=["a", "b"], output=["c"])
    set_input_dims(predict, {"a": (None, 4)})
    net = Net(predict)
    assert net.input_shapes(batch=3, given={"b": (3, 4)}) == {"a": (3, 4), "b": (3, 4)}
    with pytest.raises(ModelError, match="shape of input b is not recorded"):
        net.input_shapes()
    with pytest.raises(ModelError, match="d is no input; the net's inputs are a, b"):
        net.input_shapes(given={"d": (3, 4)})


def test_a_net_without_parameters_is_saved_and_read(tmp_path):
    predict = caffe2_pb2.NetDef(name="sum", external_input=["a"], external_output=["c"])
    predict.op.add(type="Add", input=["a", "a"], output=["c"])
    Net(predict).save(tmp_path / "net")
    assert load_net(tmp_path).predict == predict


def test_the_recorded_preprocessing_tells_the_size():
    predict = parse("""
        op { type: "NCHW2NHWC" input: "data" output: "h" }
        op { type: "Int8Quantize" input: "h" output: "q" arg { name: "Y_scale" f: 0.1 } }
        op { type: "Int8Conv" input: "q" input: "w" input: "b" output: "y" arg { name: "kernel" i: 1 }
             arg { name: "order" s: "NHWC" } arg { name: "Y_scale" f: 1.0 } }
        external_input: "data" external_input: "w" external_input: "b"
    """)
    weight = Int8Tensor(np.zeros((2, 1, 1, 1), np.uint8), 0.1, 128)
    net = Net(predict, make_init({"w": weight, "b": Int8Tensor(np.zeros(2, np.int32), 0.01, 0)}))
    with pytest.raises(ModelError, match="the shape of input data is not recorded"):
        net.input_shapes()
    assert net.input_shapes(size=32) == {"data": (1, 1, 32, 32)}  # one channel, as the weight says
    set_preprocessing(predict, Preprocessing(size=96))
    assert net.input_shapes() == {"data": (1, 1, 96, 96)}


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_operators_work_in_place_and_reuse_names(backend):
    """A blob's shape and value are those of its last writer; who read it before had the earlier ones."""
    net = Net(parse("""
        op { type: "Relu" input: "x" output: "x" }
        op { type: "Sqr" input: "x" output: "t" }
        op { type: "Flatten" input: "x" output: "x" }
        op { type: "Negative" input: "t" output: "t" }
        op { type: "Flatten" input: "t" output: "s" }
        op { type: "Copy" input: "x" output: "t" }
        op { type: "Add" input: "s" input: "t" output: "y" }
        external_input: "x" external_output: "y"
    """))  # fmt: skip
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    assert net.infer_shapes({"x": x.shape})["x"] == ((2, 12), np.float32)
    got = net.session(backend).run({"x": x}, ["x", "t", "y"])
    flat = np.maximum(x, 0).reshape(2, 12)
    np.testing.assert_array_equal(got["x"], flat)
    np.testing.assert_array_equal(got["t"], flat)
    np.testing.assert_allclose(got["y"], flat - flat**2, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_shapes_computed_in_the_net(backend):
    """Shape, Slice, Concat and Reshape as converters write them: known before anything runs."""
    net = Net(parse("""
        op { type: "Shape" input: "x" output: "dims" }
        op { type: "Slice" input: "dims" output: "batch"
             arg { name: "starts" ints: 0 } arg { name: "ends" ints: 1 } }
        op { type: "GivenTensorInt64Fill" output: "rest"
             arg { name: "shape" ints: 1 } arg { name: "values" ints: -1 } }
        op { type: "Concat" input: "batch" input: "rest" output: "shape" output: "info"
             arg { name: "axis" i: 0 } }
        op { type: "Reshape" input: "x" input: "shape" output: "y" output: "old" }
        op { type: "Cast" input: "dims" output: "int_dims" arg { name: "to" i: 2 } }
        external_input: "x" external_output: "y" external_output: "int_dims"
    """))  # fmt: skip
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert net.infer_shapes({"x": x.shape})["y"] == ((2, 12), np.float32)
    got = net.session(backend).run({"x": x}, ["y", "old", "int_dims"])
    assert np.array_equal(got["y"], x.reshape(2, 12))
    assert got["old"].tolist() == [2, 3, 4] and got["old"].dtype == np.int64
    assert got["int_dims"].tolist() == [2, 3, 4] and got["int_dims"].dtype == np.int32


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_inputs_and_parameters_can_be_asked_for(backend):
    predict = parse('op { type: "Mul" input: "x" input: "p" output: "y" } external_input: "x" external_input: "p"')
    net = Net(predict, make_init({"p": np.array([2], np.float32)}))
    got = net.session(backend).run({"x": np.ones(3, np.float32)}, ["x", "p", "y"])
    assert {name: value.tolist() for name, value in got.items()} == {"x": [1] * 3, "p": [2], "y": [2] * 3}
    fed = net.session(backend).run({"x": np.ones(3), "p": np.array([5.0])})  # float64 is taken as float32
    assert fed["y"].tolist() == [5] * 3 and fed["y"].dtype == np.float32
    assert net.session(backend).run({"x": np.ones(3)}, []) == {}


def test_one_session_takes_several_shapes():
    net = Net(parse('op { type: "Softmax" input: "x" output: "y" } external_input: "x"'))
    session = net.session("onnxruntime", threads=1)
    for batch in (1, 2, 3, 4, 5, 6, 1):
        assert session.run({"x": np.zeros((batch, 4), np.float32)})["y"].shape == (batch, 4)


def test_the_walk_gives_types_at_each_moment():
    net = Net(parse("""
        op { type: "Int8Quantize" input: "x" output: "x"
             arg { name: "Y_scale" f: 0.5 } arg { name: "Y_zero_point" i: 3 } }
        op { type: "Int8Dequantize" input: "x" output: "x" }
        external_input: "x"
    """))  # fmt: skip
    quantize, dequantize = net.walk({"x": (2, 5)})
    assert quantize.inputs[0].scale is None
    assert (quantize.outputs[0].scale, quantize.outputs[0].zero_point) == (0.5, 3) and dequantize.inputs[0].is_quantized
    assert (quantize.nbytes, quantize.macs) == (4 * 10 + 10, 0)
    assert net.infer_types({"x": TensorType((1,))})["x"].dtype == np.float32


def test_quantized_blobs_can_be_fed():
    net = Net(parse('op { type: "Int8Dequantize" input: "q" output: "y" } external_input: "q"'))
    fed = Int8Tensor(np.array([0, 3, 255], np.uint8), 0.5, 3)
    assert net.session("reference").run({"q": fed})["y"].tolist() == [-1.5, 0, 126]


@pytest.mark.parametrize(
    ("predict", "init"),
    [("model.pb", "model_init.pb"), ("predict_net.pb", "init_net.pb"), ("a.predict.pb", "a.init.pb")],
)
def test_folders(predict, init, tmp_path):
    text = 'name: "n" op { type: "Mul" input: "x" input: "p" output: "y" } external_input: "x"'
    net = Net(parse(text), make_init({"p": np.ones(1, np.float32)}))
    net.save(tmp_path / "saved")
    (tmp_path / "saved.predict.pb").rename(tmp_path / predict)
    (tmp_path / "saved.init.pb").rename(tmp_path / init)
    found = load_net(tmp_path)
    assert (found.predict, found.init) == (net.predict, net.init)
    (tmp_path / "n.pbtxt").write_text(str(net.predict))
    assert load_net(tmp_path / "n.pbtxt").predict == net.predict


def test_int8_nets_in_onnx_runtime_are_approximated_only_when_asked():
    net = Net(parse("""
        op { type: "Int8Quantize" input: "x" output: "q" arg { name: "Y_scale" f: 0.1 } }
        op { type: "Int8Dequantize" input: "q" output: "y" }
        external_input: "x"
    """))  # fmt: skip
    x = np.linspace(0, 20, 50, dtype=np.float32)
    exact = net.session("reference").run({"x": x})["y"]
    assert np.array_equal(net.session("onnxruntime").run({"x": x})["y"], exact)
    near = net.session("onnxruntime", approximate=True).run({"x": x})["y"]
    np.testing.assert_allclose(near, exact, atol=0.11)


def test_types_of_inputs_that_a_net_within_reads():
    inner = """arg { name: "%s" n { op { type: "LSTMUnit" input: "h" input: "c" input: "gates" input: "lengths"
                                          input: "timestep" output: "h" output: "c" } } }"""
    for kind, name in (("If", "then_net"), ("RecurrentNetwork", "step_net")):
        op = f'op {{ type: "{kind}" input: "x" input: "lengths" {inner % name} }}'
        types = Net(parse(f'{op} external_input: "x" external_input: "lengths"')).input_types(
            {"x": (1,), "lengths": (3,)}
        )
        assert types["lengths"].dtype == np.int32


@pytest.mark.parametrize("backend", [*BACKENDS_HERE, *(["exact"] if is_available() else [])])
@pytest.mark.parametrize("names", [("then_net", "else_net"), ("else_net", "then_net")])
def test_branches_in_either_order(backend, names):
    """A file may have else_net first: names, not places, say which is which."""
    branches = {
        "then_net": 'op { type: "Relu" input: "x" output: "t" } op { type: "Sqr" input: "t" output: "y" }',
        "else_net": 'op { type: "Add" input: "x" input: "z" output: "y" }',
    }
    arguments = " ".join(f'arg {{ name: "{name}" n {{ {branches[name]} }} }}' for name in names)
    net = Net(parse(f'op {{ type: "If" input: "c" output: "y" {arguments} }} external_input: ["c", "x", "z"]'))
    x, z = np.array([-2, 3], np.float32), np.array([10, 20], np.float32)
    session = net.session(backend, threads=1)
    for condition, expected in ((True, [0, 9]), (False, [8, 23])):
        assert session.run({"c": np.array([condition]), "x": x, "z": z})["y"].tolist() == expected
    assert net.infer_types({"c": TensorType((1,), np.bool_), "x": TensorType((2,)), "z": TensorType((2,))})[
        "y"
    ].shape == (2,)


def test_auto_takes_the_fastest_exact_runtime():
    assert fastest_exact(Net(parse('op { type: "Relu" input: "x" output: "y" }'))) == "onnxruntime"
    quantized = Net(parse('op { type: "Int8Quantize" input: "x" output: "y" }'))
    assert fastest_exact(quantized) in ("exact", "reference")
    boxes = Net(parse('op { type: "GenerateProposals" input: ["s", "d", "i", "a"] output: ["rois", "probs"] }'))
    assert fastest_exact(boxes) == ("exact" if is_available() else "onnxruntime")
    with pytest.raises(ModelError, match=f"none of {', '.join(BACKENDS)}"):
        quantized.session("cuda")


def test_init_nets_may_compute():
    init = caffe2_pb2.NetDef()
    add_fill(init, "a", np.array([1.5, 2.5], np.float32))
    init.op.add(type="Cast", input=["a"], output=["p"]).arg.add(name="to").i = 2
    net = Net(caffe2_pb2.NetDef(), init)
    assert net.parameters["p"].tolist() == [1, 2] and net.parameter_types["p"].dtype == np.int32


CLASSIFIERS = {
    "bvlc_alexnet": 227,
    "densenet121": 224,
    "inception_v1": 224,
    "inception_v2": 224,
    "resnet50": 224,
}


def with_random_weights(net: Net, data: str, size: int) -> Net:
    """The graph with weights of the shapes that its operators need; 16 channels and 10 classes throughout."""
    rng = np.random.default_rng(0)
    types, parameters = {data: TensorType((1, 3, size, size))}, {}
    for node in net.operators:
        x = types[node.inputs[0]]
        needed = [name for name in node.inputs if name not in types]
        if node.type == "Conv":
            shapes = [(16, x.shape[1] // node.operator.group, *node.operator.window.kernel), (16,)]
        elif node.type == "FC":
            inner = int(np.prod(x.shape[1:]))
            shapes = [(*[1] * (node.operator.axis_w - 1), 10, inner), (10,)]
        else:
            shapes = [(x.shape[1],)] * len(needed)
        for name, shape in zip(needed, shapes, strict=False):
            values = rng.normal(0, 1 / np.sqrt(max(np.prod(shape[1:]), 10)), shape)
            parameters[name] = np.abs(values if len(shape) > 1 else values + 1).astype(np.float32)
            if len(shape) > 1:
                parameters[name] *= rng.choice([-1, 1], shape).astype(np.float32)
            types[name] = TensorType(shape)
        types.update(zip(node.outputs, node.infer(types)[1], strict=True))
    return Net(net.predict, make_init(parameters))


def classifier(shared, name: str) -> tuple[Net, dict[str, np.ndarray]]:
    """(a published graph with weights, something to feed it)"""
    graph = load_net(shared / "published" / "others" / f"{name}_predict_net.pbtxt")
    (data,) = (blob for blob in graph.inputs if blob.endswith("data"))
    size = CLASSIFIERS[name]
    x = np.random.default_rng(1).normal(0, 1, (1, 3, size, size)).astype(np.float32)
    return with_random_weights(graph, data, size), {data: x}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classification_graphs_by_other_hands(shared, name):
    net, feeds = classifier(shared, name)
    assert net.inputs == list(feeds)
    ((output, want),) = net.session("reference").run(feeds).items()
    assert net.infer_shapes({data: x.shape for data, x in feeds.items()})[output] == (want.shape, np.float32)
    got = net.session("onnxruntime", threads=1).run(feeds)[output]
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classification_graphs_against_caffe2(shared, caffe2_python, name):
    net, feeds = classifier(shared, name)
    (want,) = net.session("caffe2", threads=1).run(feeds).values()
    (got,) = net.session("onnxruntime", threads=1).run(feeds).values()
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


def test_weights_are_in_memory_once_and_the_net_is_whole_again(tmp_path):
    """Long lists of floats are read apart from their operators; those of fills stay apart until init is asked for."""
    values = np.random.default_rng(0).normal(size=(3, 50, 40)).astype(np.float32)
    init = make_init({"weight": values[0], "small": values[1, :2, :2]})
    twice = add_operator(init, "GivenTensorFill", [], ["twice"], values=values[1].ravel(), shape=np.array([50, 40]))
    twice.arg.add().CopyFrom(twice.arg[0])  # an argument may be given twice, with the same value
    path = tmp_path / "init.pb"
    path.write_bytes(init.SerializeToString())
    assert read_net(path) == init

    fills, weights = read_init(path)
    assert list(weights) == [0] and fills.op[0].ByteSize() < 100
    net = Net(caffe2_pb2.NetDef(external_output=["weight"]), fills, weights)
    assert net.init == init
    assert np.shares_memory(net.parameters["weight"], weights[0])
    np.testing.assert_array_equal(net.parameters["weight"], values[0])
    np.testing.assert_array_equal(net.parameters["twice"], values[1])


def test_long_lists_of_other_operators_stay_with_them(tmp_path):
    net = caffe2_pb2.NetDef()
    for kind, argument in (("Unknown", "values"), ("GivenTensorFill", "others")):
        add_operator(net, kind, [], ["x"], **{argument: np.arange(2000, dtype=np.float32), "i": 3})
    path = tmp_path / "init.pb"
    path.write_bytes(net.SerializeToString())
    assert read_init(path) == (net, {})


def test_packed_floats_are_read_alike(tmp_path):
    """Caffe2 writes floats one by one; others' protobuf may pack them."""
    values = np.arange(2000, dtype=np.float32)
    one_by_one = make_init({"weight": values})
    argument = one_by_one.op[0].arg[1]
    packed = length_delimited(argument.FLOATS_FIELD_NUMBER, values.nbytes) + values.tobytes()
    named = caffe2_pb2.Argument(name=argument.name).SerializeToString() + packed
    operator = caffe2_pb2.OperatorDef(type="GivenTensorFill", output=["weight"], arg=[one_by_one.op[0].arg[0]])
    field = caffe2_pb2.OperatorDef.ARG_FIELD_NUMBER
    content = operator.SerializeToString() + length_delimited(field, len(named)) + named
    path = tmp_path / "init.pb"
    path.write_bytes(length_delimited(caffe2_pb2.NetDef.OP_FIELD_NUMBER, len(content)) + content)
    assert read_net(path).op == one_by_one.op
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ModelError, match="truncated"):
        read_net(path)


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize(("kernel", "pad"), [(2, 1), (3, 3)])
def test_zeros_around_an_image_count_in_pooling(kind, kernel, pad):
    """ONNX Runtime would make them the pooling's own pads, which it leaves out, or refuses."""
    net = caffe2_pb2.NetDef(external_input=["x"], external_output=["y"])
    add_operator(net, "PadImage", ["x"], ["padded"], pad=pad)
    add_operator(net, kind, ["padded"], ["y"], kernel=kernel)
    feeds = {"x": -np.arange(1, 37, dtype=np.float32).reshape(1, 1, 6, 6)}
    want, got = (Net(net).session(backend).run(feeds)["y"] for backend in BACKENDS_HERE)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("predict", "init"),
    [
        ("model.pb", "model_init.pb"),
        ("predict_net.pb", "init_net.pb"),
        ("predict.pb", "init.pb"),
        ("squeeze_predict_net.pb", "squeeze_init_net.pb"),
        ("fbnet.predict.pb", "fbnet.init.pb"),
        ("predict_net.pbtxt", "init_net.pbtxt"),
        ("a_predict_net.pbtxt", "a_init_net.pbtxt"),
    ],
)
def test_every_pair_of_names_is_found_in_a_folder(predict, init, tmp_path):
    nets = {
        predict: caffe2_pb2.NetDef(name="p", external_input=["x", "w"]),
        init: make_init({"w": np.ones(2, np.float32)}),
    }
    add_operator(nets[predict], "Add", ["x", "w"], ["y"])
    for name, net in nets.items():
        text = name.endswith("pbtxt")
        (tmp_path / name).write_bytes(str(net).encode() if text else net.SerializeToString())
    net = load_net(tmp_path)
    assert net.inputs == ["x"] and list(net.parameters) == ["w"]


def test_what_mobile_exporter_fills_an_input_with_is_no_parameter():
    """It writes [[0]] for each input and declares inputs and parameters alike."""
    predict = caffe2_pb2.NetDef(external_input=["data", "w", "b", "im_info"], external_output=["y"])
    add_operator(predict, "FC", ["data", "w", "b"], ["z"])
    add_operator(predict, "Add", ["z", "im_info"], ["y"])
    zero = np.zeros((1, 1), np.float32)
    init = make_init({"w": zero, "b": np.zeros(1, np.float32), "data": zero, "im_info": zero})
    net = Net(predict, init)
    assert net.inputs == ["data", "im_info"] and set(net.parameters) == {"w", "b"}
    assert net.infer_shapes({"data": (5, 1), "im_info": (5, 1)})["y"][0] == (5, 1)
