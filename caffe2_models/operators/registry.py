"""What an operator is, and the table of all of them.

One frozen dataclass per Caffe2 operator: its fields are the operator's arguments with Caffe2's defaults, and
its methods say all that is known of it. Their inputs are the operator's inputs in order:

    infer(*types)            TensorType of each output, from the inputs'; ModelError for what cannot be
    compute(*values)         the outputs (ndarray or Int8Tensor), exactly as Caffe2 computes them
    lower(graph, *symbols)   the outputs' names, after adding ONNX nodes to the graph (caffe2_models.lowering)
    lower_qdq(...)           the same in QDQ form, where that is another: as fast as may be, near and not equal
    macs(*types)             multiply-accumulates

An operator with one output returns it bare; with several, a tuple. Arguments the operator does not name are
ignored, as Caffe2 ignores them. What others ask of an operator is a trait of its class (the class variables of
Operator), never a list of names elsewhere.

`check_inputs` comes before them all: `infer` sees as many inputs as its signature has parameters (`bias=None` is an
optional one, `*others` takes any number) and only of the types in `dtypes`; the others see only what `infer` let
pass. What else a net's author can get wrong, `infer` answers with a ModelError: ranks, shapes, ranges of arguments,
content that is known. Where only the content of a run can be wrong (an index out of range), `compute` says so with a
ModelError. Any other exception is a bug of ours and surfaces as one.

Sizes that only a run tells:

    `infer` returns TensorType.up_to(shape, dtype) where content decides how many there are (Unique, boxes above a
    threshold) but never more than that; TensorType.unknown() where there is no bound.
    `infer` asks checks.known(x, "lengths") for the content of an input that decides a shape (Reshape's second,
    lengths): the array, where it is known before the run; else LaterError leaves all outputs unknown.

Operators behind such blobs need no word of their own. Before the run their `infer` is asked with the upper bounds, and
what it answers is an upper bound again (or unknown, where it refuses: two bounds need not agree). When they are
reached, `infer` is asked once more, with the exact types of the very inputs, their `value` in them; then `compute`.

Nets that an operator holds (an argument `n`): a field of type `Body` takes the argument of its name. An operator that
sets `shares_workspace` runs them among the blobs around it, in the `sequence` that it tells (If, which `choose`s one of
them; While, which `loops`): what they read and write become further inputs and outputs of its node by themselves;
`infer` checks the declared inputs. Any other operator
(RecurrentNetwork) makes a dict of the blobs that its net shall see, from its inputs (their names, like those of the
outputs, are a field `decode`d from Arguments.inputs), and calls body.walk(types) in `infer` and `macs` and
body.run(blobs) in `compute`, which write the results into that dict, and graph.lower_body(body, symbols) in `lower`,
which gives them.
"""

import dataclasses
import enum
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import TensorType, Value

if typing.TYPE_CHECKING:
    from caffe2_models.operators.node import Body

OPERATORS: dict[str, type["Operator"]] = {}

# What an input may hold, as names of numpy dtypes; None for anything.
Dtypes = frozenset[str] | None

# What every input may hold; or what each of them in order, the last for all further ones.
InputDtypes = Dtypes | tuple[Dtypes, ...]

FLOAT32 = frozenset({"float32"})
FLOATS = frozenset({"float32", "float64"})
INT32 = frozenset({"int32"})
INT64 = frozenset({"int64"})
INDICES = frozenset({"int32", "int64"})
NUMBERS = frozenset({"float32", "float64", "int32", "int64"})
BOOL = frozenset({"bool"})
UINT8 = frozenset({"uint8"})
ANY = None

# Arguments without effect: the layout, where elements or rows are alike in all; FC's and Softmax's axis at its default.
LAYOUT = frozenset({"order"})
ROW_ARGUMENTS = frozenset({"order", "axis=1"})


class Layer(enum.Enum):
    """What an operator with weights multiplies them with."""

    CONVOLUTION = "a window of pixels"
    TRANSPOSED_CONVOLUTION = "one pixel, added over a window"
    FULLY_CONNECTED = "a whole row"


class OutputScale(enum.Enum):
    """How an Int8 operator's output may be quantized."""

    FREE = "any scale and zero point"
    AS_INPUT = "as all of its inputs are"
    PROBABILITY = "scale 1/256, zero point 0"


class Operator:
    """Base of all operators; see the module's text for what each method takes and gives.

    dtypes are what every input may hold; a tuple has those of each input in order, the last of them for all
    further ones.
    """

    type: typing.ClassVar[str]
    dtypes: typing.ClassVar[InputDtypes] = FLOAT32
    takes_quantized: typing.ClassVar[bool] = False
    output_scale: typing.ClassVar[OutputScale | None] = None  # of one with a quantized output
    elementwise: typing.ClassVar[bool] = False  # each output element depends on the inputs' elements in its place alone
    identity: typing.ClassVar[bool] = False  # the first output is the input
    per_image: typing.ClassVar[bool] = False  # does the same to each image, whatever the others hold
    layer: typing.ClassVar[Layer | None] = None  # what multiplies weights
    parameters: typing.ClassVar[
        tuple[str, ...]
    ] = ()  # roles of the inputs from the second on, where training fills them
    side_outputs: typing.ClassVar[tuple[str, ...]] = ()  # outputs that Caffe2 wants named though few read them
    carries_order: typing.ClassVar[bool] = False  # converters write `order` to it, as the published nets have it
    idle_arguments: typing.ClassVar[frozenset[str]] = frozenset()  # that exporters write to it, and it does not look at
    refuses_content: typing.ClassVar[bool] = False  # raises ModelError for what a run brings; other runtimes would not
    lists_numbers: typing.ClassVar[bool] = False  # a vector of the input's type, whose length only a run tells
    ranks: typing.ClassVar[bool] = False  # takes the first input's values in their order: a last bit moves whole boxes
    rounds: typing.ClassVar[bool] = False  # makes whole numbers of the first input's values: a last bit may be the next
    passes_clamps: typing.ClassVar[bool] = False  # maxima or values that move: a clamp behind it may stand before it
    passes_factors: typing.ClassVar[bool] = False  # f(t x) = t f(x) for a factor t > 0, and channels stay apart
    stands_in: typing.ClassVar[bool] = False  # a fill without content, in the place of data that a user feeds
    shares_workspace: typing.ClassVar[bool] = False  # runs nets that it holds among the blobs around it
    net_order: typing.ClassVar[tuple[str, ...]] = ()  # of nets that it holds, where it is not the file's
    loops: typing.ClassVar[bool] = False  # runs its nets again and again: those that ask, then the one repeated
    nets_as_text: typing.ClassVar[frozenset[str]] = frozenset()  # arguments that may hold a net as text
    image_info: typing.ClassVar[int | None] = None  # the input that is (height, width, scale) of each image
    implicit_inputs: typing.ClassVar[tuple[str, ...]] = ()  # blobs that it reads though no net names them, last

    @classmethod
    def decode(cls, arguments: Arguments) -> "Operator":
        """The operator with its arguments taken from a file."""
        return cls(**read_fields(cls, arguments))

    @classmethod
    def arity(cls) -> tuple[int, float]:
        """(fewest inputs, most inputs)"""
        return arity_of(cls.infer)

    @classmethod
    def is_in_onnx(cls) -> bool:
        """Whether ONNX can say what it computes."""
        return cls.lower is not Operator.lower

    def choose(self, *inputs: Value) -> "Body | None":
        """Of an operator that `shares_workspace`: which of its nets runs, from the values of the declared inputs."""
        raise NotImplementedError

    def sequence(self, condition: Callable[[], Value]) -> "Iterator[Body]":
        """Of an operator that `shares_workspace`: the nets that run, one after another.

        condition(): the first input, as it is when it is asked for.
        """
        raise NotImplementedError

    def implicit_fills(self) -> list[caffe2_pb2.OperatorDef]:
        """What makes the implicit inputs where nothing else does."""
        return []

    @classmethod
    def takes(cls, position: int) -> Dtypes:
        """What the input at this place may hold."""
        each = cls.dtypes if isinstance(cls.dtypes, tuple) else (cls.dtypes,)
        return each[min(position, len(each) - 1)]

    def check_inputs(self, *inputs: TensorType) -> None:
        """Raises ModelError for another number of inputs, or other types, than Caffe2's operator takes."""
        fewest, most = self.arity()
        if not fewest <= len(inputs) <= most:
            expected = (
                f"{fewest}" if fewest == most else f"{fewest} to {most}" if most < math.inf else f"{fewest} or more"
            )
            raise ModelError(f"{len(inputs)} inputs; {expected} are expected")
        for i, x in enumerate(inputs):
            if x.is_unknown:
                continue
            allowed = self.takes(i)
            if x.is_quantized and not self.takes_quantized:
                raise ModelError("a quantized input, which it does not take (Int8Dequantize makes it float32)")
            if allowed is not None and name_of(x.dtype) not in allowed:
                raise ModelError(f"an input of {x.dtype}; {' or '.join(sorted(allowed))} is expected")

    def infer(self, *inputs):
        raise NotImplementedError

    def compute(self, *inputs):
        raise NotImplementedError

    def lower(self, graph, *inputs):
        raise NotImplementedError

    def lower_qdq(self, graph, *inputs):
        return self.lower(graph, *inputs)

    def macs(self, *inputs) -> int:
        """Data movement and table look-ups multiply nothing."""
        return 0

    def workspace(self, *inputs) -> int:
        """Bytes that `compute` takes for itself, beside inputs and outputs; checked before anything runs.

        Where they follow from sizes of inputs and outputs by a small factor, as most do, 0 will do: what must be
        said is what an argument can make large.
        """
        return 0


def traits_of(name: str) -> type[Operator]:
    """The operator's class, for its traits; the base, which has none, where it is not in the table."""
    return OPERATORS.get(name, Operator)


@functools.cache
def name_of(dtype: np.dtype) -> str:
    """numpy makes its names anew each time, slowly."""
    return dtype.name


@functools.cache
def arity_of(infer: Callable) -> tuple[int, float]:
    """(fewest, most) positional arguments, without `self`, that a method takes."""
    parameters = list(inspect.signature(infer).parameters.values())[1:]
    fewest = sum(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters)
    is_open = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return fewest, math.inf if is_open else len(parameters)


def operator(*names: str, **fixed) -> Callable[[type[Operator]], type[Operator]]:
    """Register a class under Caffe2's operator names; `fixed` sets class attributes (for ...Relu twins)."""

    def register(cls):
        for name in names:
            if name in OPERATORS:
                raise KeyError(f"operator {name} is registered twice")
            members = {"type": name, "__doc__": cls.__doc__, "__module__": cls.__module__, **fixed}
            OPERATORS[name] = type(name, (cls,), members)
        return cls

    return register


def read_fields(cls: type, arguments: Arguments) -> dict[str, typing.Any]:
    """The fields of a dataclass, each from the argument of its name, as the type that it declares."""
    return {field.name: _read(arguments, field) for field in dataclasses.fields(cls)}


def _read(arguments: Arguments, field: dataclasses.Field):
    """One argument as the type its field declares."""
    wanted: typing.Any = field.type
    if isinstance(wanted, types.UnionType):  # X | None
        wanted = next(choice for choice in typing.get_args(wanted) if choice is not type(None))
    if hasattr(wanted, "decode"):
        return wanted.decode(arguments)
    default = field.default
    if default is dataclasses.MISSING:
        if field.name not in arguments:
            raise ModelError(f"argument {field.name} is missing")
        default = None
    if typing.get_origin(wanted) is tuple:
        kind = "floats" if typing.get_args(wanted)[0] is float else "ints"
    else:
        kind = wanted.__name__.lower()
    return getattr(arguments, f"get_{kind}")(field.name, default)
