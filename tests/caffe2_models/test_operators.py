"""Every operator: known in all its aspects, inferred as it runs, computed as Caffe2 computed it."""

import numpy as np
import pytest
from goldens import load_goldens
from operator_cases import CASES

from caffe2_models import Int8Tensor, ModelError, Net, load_net
from caffe2_models.build import add_operator
from caffe2_models.lowering import lower_net
from caffe2_models.operators import OPERATORS
from caffe2_models.operators.registry import Operator
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.session import input_types
from caffe2_models.tensors import TensorType

SEEDS = range(4)

LOWERED = [kind for kind, cls in OPERATORS.items() if cls.is_in_onnx()]


def draw(kind: str, seed: int):
    return CASES[kind](np.random.default_rng([seed, *kind.encode()]))


def test_every_operator_has_a_case():
    assert set(CASES) == set(OPERATORS)


@pytest.mark.parametrize("kind", OPERATORS)
def test_operator_has_shape_computation_lowering_and_cost(kind):
    case = draw(kind, 0)
    net, types = case.net(), input_types(case.feeds)
    steps = list(net.walk(types))
    assert len(steps) == 1
    if OPERATORS[kind].is_in_onnx() and all(step.is_exact for step in steps):
        lower_net(net, types, case.output_names)
    net.session("reference").run(case.feeds, case.output_names)


# Their content is random, or (AsyncIf) Caffe2's build for CPUs cannot make them.
WITHOUT_GOLDEN = {"AsyncIf", "GaussianFill", "MSRAFill", "UniformFill", "XavierFill"}


def test_goldens_are_complete():
    assert set(OPERATORS) - set(load_goldens()) == WITHOUT_GOLDEN, "run scripts/make_goldens.py"


@pytest.mark.parametrize("kind", [kind for kind in OPERATORS if kind not in WITHOUT_GOLDEN])
def test_golden(kind):
    """What Caffe2 1.8.1 computed for a small case: int8 byte for byte; float32 but for the order of sums."""
    golden = load_goldens()[kind]
    got = golden.net.session("reference").run(golden.feeds, list(golden.results))
    for name, want in golden.results.items():
        assert_same(got[name], want)


# Of the goldens: elements of the output, by those of the weights that each one meets.
MACS = {
    "BatchMatMul": (5 * 3 * 2) * 2,
    "Conv": (2 * 5 * 6) * (1 * 5 * 5),
    "Conv1D": (2 * 2 * 2) * 1,
    "Conv2D": (2 * 2 * 3 * 1) * (1 * 1 * 2),
    "Conv3D": (2 * 6 * 6 * 2 * 2) * (1 * 2 * 2 * 1),
    "ConvRelu": (1 * 3 * 3) * 3,
    "ConvTranspose": (1 * 4 * 8) * (2 * 4 * 3),  # of the input, which meets them
    "FC": (5 * 7) * 2,
    "FCTransposed": 7 * (6 * 3),
    "Int8Conv": (5 * 5 * 18) * 12,
    "Int8ConvRelu": (3 * 4 * 18) * 3,
    "Int8ConvTranspose": (2 * 5 * 10) * (2 * 2 * 3),
    "Int8FC": 3 * 12,
    "MatMul": (4 * 5) * 1,
    "Relu": 0,
    "MaxPool": 0,
}


@pytest.mark.parametrize("kind", MACS)
def test_multiply_accumulates(kind):
    golden = load_goldens()[kind]
    assert [step.macs for step in golden.net.walk(input_types(golden.feeds))] == [MACS[kind]]


@pytest.mark.parametrize("kind", OPERATORS)
def test_what_is_inferred_is_what_runs(kind):
    for seed in SEEDS:
        case = draw(kind, seed)
        assert_inferred(case.net(), case.feeds, case.output_names)


@pytest.mark.parametrize("kind", LOWERED)
def test_lowered_operator_computes_the_same(kind):
    for seed in SEEDS:
        case = draw(kind, seed)
        if not case.has_exact_sizes:
            continue
        reference = case.net().session("reference").run(case.feeds, case.output_names)
        lowered = case.net().session("onnxruntime", threads=1).run(case.feeds, case.output_names)
        for name, want in reference.items():
            assert_same(lowered[name], want)


@pytest.mark.parametrize("kind", [kind for kind, cls in OPERATORS.items() if cls.lower_qdq is not Operator.lower_qdq])
def test_operator_in_qdq_form_is_near(kind):
    """QDQ rounds once more and elsewhere: up to two steps apart."""
    for seed in SEEDS:
        case = draw(kind, seed)
        reference = case.net().session("reference").run(case.feeds, ["y0"])["y0"]
        session = case.net().session("onnxruntime", threads=1, approximate=True)
        approximate = session.run(case.feeds, ["y0"])["y0"]
        if isinstance(reference, Int8Tensor):
            assert (approximate.scale, approximate.zero_point) == (reference.scale, reference.zero_point)
            reference, approximate = reference.data.astype(int), approximate.data
        assert np.abs(approximate - reference).max(initial=0) <= 2


@pytest.mark.parametrize(("name", "count"), [("ops", 146), ("wild", 582)])
def test_golden_cases(shared, name, count):
    """What Caffe2 1.8.1 computed: int8 byte for byte; float32 but for the order of sums."""
    folders = sorted(path.parent for path in (shared / "golden" / name).rglob("expected.npz"))
    assert len(folders) == count
    for folder in folders:
        expected = np.load(folder / "expected.npz")
        feeds = {key[3:]: expected[key] for key in expected.files if key.startswith("in:")}
        feeds = {key: narrowed(value) for key, value in feeds.items()}
        names = [key[4:] for key in expected.files if key.startswith("out:")]
        net = load_net(folder / "predict.pb", folder / "init.pb")
        got = assert_inferred(net, feeds, names)
        for name in names:
            want = expected[f"out:{name}"]
            if f"scale:{name}" in expected.files:
                want = Int8Tensor(want, float(expected[f"scale:{name}"]), int(expected[f"zero_point:{name}"]))
            assert_same(got[name], want if got[name].dtype == np.float64 else narrowed(want), folder.name)


def narrowed(value):
    """float64 feeds are taken as float32, and what follows from them is it too."""
    return value.astype(np.float32) if value.dtype == np.float64 else value


def assert_inferred(net: Net, feeds: dict, names: list[str]) -> dict:
    """The net's blobs have the types that were inferred; returns them."""
    inferred = net.infer_types(input_types(feeds))
    shapes = net.infer_shapes({name: value.shape for name, value in feeds.items()} if feeds and all(
        value.dtype == np.float32 for value in feeds.values()) else input_types(feeds))  # fmt: skip
    results = net.session("reference").run(feeds, names)
    for name, value in results.items():
        if not inferred[name].is_exact:
            assert_bound(inferred[name], value)
            continue
        assert shapes[name] == (value.shape, value.dtype)
        assert inferred[name].is_quantized == isinstance(value, Int8Tensor)
        if isinstance(value, Int8Tensor):
            assert (inferred[name].scale, inferred[name].zero_point) == (value.scale, value.zero_point)
    return results


def assert_bound(bound: TensorType, value):
    if not bound.is_unknown:
        assert bound.dtype == value.dtype and len(bound.shape) == value.ndim
        assert all(most >= dim for most, dim in zip(bound.shape, value.shape, strict=True))


def assert_same(got, want, label=""):
    if isinstance(want, Int8Tensor):
        assert np.float32(got.scale) == np.float32(want.scale) and got.zero_point == want.zero_point, label
        assert got.data.dtype == want.data.dtype and np.array_equal(got.data, want.data), label
    else:
        assert got.shape == want.shape and got.dtype == want.dtype, label
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5, err_msg=label)  # NaN equals NaN


def test_largest_of_what_is_no_number():
    """What Caffe2 1.8.1 computed: nothing is larger than NaN, nor is that larger than anything."""
    x = np.arange(-20, -4, dtype=np.float32).reshape(1, 1, 4, 4)
    x[0, 0, 0, 0] = x[0, 0, 1, 3] = np.nan
    first = [[np.nan, np.nan, -14, -14], [np.nan, np.nan, -9, -9], [-7, -6, -5, -5], [-7, -6, -5, -5]]
    never = [[-15, -14, -14, -14], [-11, -10, -9, -9], *first[2:]]
    window = dict(kernel=3, pad=1)
    for order, image, expected in (("NCHW", x, first), ("NHWC", x.reshape(1, 4, 4, 1), never)):
        np.testing.assert_array_equal(compute("MaxPool", image, order=order, **window).reshape(4, 4), expected)


def test_largest_of_vectors_with_what_is_no_number():
    """In vectors of four columns: here NaN comes first in a lane, and hides others where lanes are compared."""
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)
    x[..., 3] = np.nan
    assert np.isnan(compute("MaxPool", x[..., :4], global_pooling=1))
    x[..., 1], x[..., 3] = np.nan, 3
    assert compute("MaxPool", x[..., :4], global_pooling=1) == 3
    volume = np.array([np.nan, 1, 2, 3], np.float32).reshape(1, 1, 2, 1, 2)
    assert compute("MaxPool", volume, kernels=[2, 1, 2]) == 3


def test_quantized_rows_of_what_is_no_number():
    """It is 0, and not the lowest nor the highest; in a lane of a vector what was before it is forgotten."""
    x = np.arange(80, 100, dtype=np.float32).reshape(1, 20)
    x[0, 8] = np.nan
    stored = compute("FloatToFused8BitRowwiseQuantized", x)
    assert stored[0, 20:].view(np.float32).tolist() == [np.float32(18) / np.float32(255), 81]
    assert stored[0, :10].tolist() == [242, 0, 14, 28, 42, 57, 71, 85, 0, 113]
    in_turn = compute("HalfToFused4BitRowwiseQuantized", x.astype(np.float16))
    assert in_turn[0, 10:].view(np.float16)[1] == 80


def test_members_are_of_one_type():
    x = np.array([0, 1, 2], np.int64)
    assert compute("IsMemberOf", x, value=[1]).tolist() == [False, True, False]
    assert compute("IsMemberOf", x, value=[1], dtype=10).tolist() == [False, True, False]
    assert not compute("IsMemberOf", x, value=[1], dtype=2).any()
    with pytest.raises(ModelError, match="dtype 1; int32"):
        compute("IsMemberOf", x, value=[1], dtype=1)
    with pytest.raises(ModelError, match="which int32 does not hold"):
        compute("IsMemberOf", x, value=[1 << 32], dtype=2)


@pytest.mark.parametrize("backend", ["reference", "onnxruntime"])
def test_scatter_by_fewer_indices(backend):
    """They go with the first of data along the other axes."""
    data, where = np.zeros((3, 4), np.float32), np.array([[2, 0]])
    updates = np.array([[5, 7]], np.float32)
    assert compute("Scatter", data, where, updates, backend=backend, axis=0).tolist() == [
        [0, 7, 0, 0], [0, 0, 0, 0], [5, 0, 0, 0]
    ]  # fmt: skip
    assert compute("Scatter", data, where, updates, backend=backend, axis=1)[0].tolist() == [7, 0, 5, 0]
    with pytest.raises(ModelError, match=r"indices \[0, 4\] for data"):
        compute("Scatter", data, np.zeros((0, 4), np.int64), np.zeros((0, 4), np.float32), backend=backend, axis=1)


def test_what_fitted_is_remembered_for_its_types_alone():
    """Other sizes are looked at anew, and so is content that tells a size."""
    [moves] = net_of("Scatter", 3, axis=1).operators
    data, wide = np.zeros((2, 4), np.float32), np.zeros((2, 9), np.float32)
    where, updates = np.zeros((2, 3), np.int64), np.ones((2, 3), np.float32)
    for first in (data, data, wide, data):
        assert [x.shape for x in moves.check([first, where, updates])] == [first.shape]
    with pytest.raises(ModelError, match="indices"):
        moves.check([data, where, updates[:1]])
    [counts] = net_of("LengthsRangeFill", 1).operators
    for lengths in ([1, 2], [2, 2]):
        assert [x.shape for x in counts.check([np.array(lengths, np.int32)])] == [(sum(lengths),)]


def test_segment_ids_beyond_the_rows_of_another_blob():
    ids, like = np.array([0, 5], np.int32), np.zeros((3, 1), np.float32)
    for kind in ("SegmentIdsToLengths", "SegmentIdsToRanges"):
        with pytest.raises(ModelError, match="segment id 5 of 3"):
            compute(kind, ids, like)


def net_of(kind: str, inputs: int, **arguments) -> Net:
    names = [f"x{i}" for i in range(inputs)]
    predict = caffe2_pb2.NetDef(external_input=names)
    add_operator(predict, kind, names, ["y"], **arguments)
    return Net(predict)


def compute(kind: str, *inputs: np.ndarray, backend: str = "reference", **arguments) -> np.ndarray:
    net = net_of(kind, len(inputs), **arguments)
    feeds = {f"x{i}": value for i, value in enumerate(inputs)}
    return net.session(backend, threads=1).run(feeds)["y"]
