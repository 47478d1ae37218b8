import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from caffe2_common.errors import ModelError
from caffe2_models.proto import caffe2_pb2
from runtime_lut.signature import Signature, canonical_texts, protobuf_texts


def integer(name, value):
    return f'name: "{name}"\ni: {value}\n'


def integers(name, *values):
    return f'name: "{name}"\n' + "".join(f"ints: {value}\n" for value in values)


NHWC = 'name: "order"\ns: "NHWC"\n'
CONV = [integer("kernel", 3), NHWC, integer("pad", 1), integer("stride", 2)]

SAME_CONV = {
    "order": [CONV[3], CONV[0], CONV[2], CONV[1]],
    "spelling": ["name: 'kernel' i: 3",
                 'name:"order" s:"NHWC"', 'i:1  name:"pad"', 'name: "stride"\n\ni: 0x2'],
    "lists": [integers("kernels", 3, 3), NHWC, integers("pads", 1, 1, 1, 1), integers("strides", 2, 2)],
    "sides": [*(integer(f"kernel_{s}", 3) for s in "hw"), NHWC, *(integer(f"pad_{s}", 1) for s in "tlbr"),
              integer("stride_h", 2), integer("stride_w", 2)],
    "defaults said": [*CONV, integer("group", 1), integer("dilation", 1)],
    "a group as a float": [*CONV, 'name: "group"\nf: 1\n'],
    "quantization": [*CONV, 'name: "Y_scale"\nf: 0.25\n', integer("Y_zero_point", 7)],
    "hints": [*CONV, integer("ws_nbytes_limit", 1 << 28), integer("exhaustive_search", 1)],
}  # fmt: skip

OTHER_CONV = {
    "kernel": [integer("kernel", 5), *CONV[1:]],
    "one pad": [
        integer("kernel", 3),
        NHWC,
        *(integer(f"pad_{s}", s in "br") for s in "tlbr"),
        integer("stride", 2),
    ],
    "order": [CONV[0], *CONV[2:]],
    "group": [*CONV, integer("group", 8)],
    "dilation": [*CONV, integer("dilation", 2)],
    "an argument nobody knows": [*CONV, integer("algo", 3)],
}


@pytest.mark.parametrize("texts", SAME_CONV.values(), ids=SAME_CONV)
def test_arguments_that_mean_the_same_are_equal(texts):
    texts = [text.replace("True", "1").replace("False", "0") for text in texts]
    assert canonical_texts("Int8Conv", tuple(texts)) == canonical_texts("Int8Conv", tuple(CONV))


@pytest.mark.parametrize("texts", OTHER_CONV.values(), ids=OTHER_CONV)
def test_arguments_that_mean_something_else_differ(texts):
    texts = [text.replace("True", "1").replace("False", "0") for text in texts]
    assert canonical_texts("Int8Conv", tuple(texts)) != canonical_texts("Int8Conv", tuple(CONV))


def test_order_matters_only_where_an_operator_looks_at_it():
    assert canonical_texts("Int8Sum", (NHWC,)) == ""
    assert canonical_texts("Int8AveragePool", (NHWC, integer("kernel", 7))).startswith("kernel=")
    assert "NHWC" in canonical_texts("Int8AveragePool", (NHWC, integer("kernel", 7)))


def test_a_window_that_cannot_be_is_compared_as_written():
    assert canonical_texts("Conv", (integer("kernel", -1),)) == "kernel=-1"


def test_text_that_is_no_argument_is_refused():
    with pytest.raises(ModelError, match="protobuf text form"):
        canonical_texts("Conv", ("kernel = 3",))


values = st.one_of(
    st.integers(-5, 300),
    st.floats(width=32, allow_nan=False),
    st.text('abc"\\\n', max_size=4),
    st.lists(st.integers(0, 9)),
)


@given(st.dictionaries(st.sampled_from(["a", "b", "axis", "scale", "order", "group"]), values))
def test_records_mean_what_the_operator_meant(arguments):
    """What a record says of an operator's arguments is read back as the same, in whatever order it is
    written.
    """
    op = caffe2_pb2.OperatorDef(type="Custom")
    for name, value in arguments.items():
        arg = op.arg.add(name=name)
        if isinstance(value, list):
            arg.ints.extend(value)
        else:
            setattr(
                arg,
                {int: "i", float: "f", str: "s"}[type(value)],
                value.encode() if isinstance(value, str) else value,
            )
    texts = protobuf_texts(op)
    known = canonical_texts("Custom", tuple(texts))
    assert canonical_texts("Custom", tuple(reversed(texts))) == known
    assert text_format.Parse(text_format.MessageToString(op), caffe2_pb2.OperatorDef()).arg == op.arg
    changed = caffe2_pb2.OperatorDef(type="Custom", arg=op.arg)
    changed.arg.add(name="another", i=1)
    assert canonical_texts("Custom", tuple(protobuf_texts(changed))) != known


def test_keys_tell_signatures_apart():
    base = Signature("Relu", "", ((1, 2), (3,)), (1, 2))
    others = [
        Signature("Relu", "", ((1,), (2, 3)), (1, 2)),
        Signature("Relu", "", ((1, 2), (3,)), (1, 1)),
        Signature("Relu", "", ((1, 23),), (1, 2)),
        Signature("Relu6", "", ((1, 2), (3,)), (1, 2)),
        Signature("Relu", "a=1", ((1, 2), (3,)), (1, 2)),
    ]
    assert len({s.key for s in [base, *others]}) == 6


def test_records_and_nets_give_the_same_signature(shared, x86_table, published_steps):
    """The table was written by another program from the real Caffe2: it knows every operator of the
    published nets.
    """
    for name, steps in published_steps.items():
        missing = [signature for signature, _ in steps if x86_table.time(signature) is None]
        assert not missing, f"{name}: {missing[0]}"
