"""What a network is, as data: an Architecture, whose blocks are strings, and what those strings mean.

A block is one string of fields joined by underscores; the first names its kind:

    ir_r2_k3_s2_e6_c24_se0.25_nsw
    |  |  |  |  |  |   |      activation: re relu, r6 relu6, hs hard swish, sw swish (else the network's)
    |  |  |  |  |  |   squeeze-and-excitation ratio
    |  |  |  |  |  output channels
    |  |  |  |  expansion: the middle is that many times the input channels wide
    |  |  |  stride of the first repeat, the others have 1; -2 enlarges two times before the depthwise conv
    |  |  kernel of the depthwise conv; 3.5.7 mixes three kernels, each on its share of the channels
    |  repeats

Kinds: ir inverted residual, ds depthwise separable (dsa: with an activation at its end), er edge residual
(full conv, then 1x1), cn conv + BN + activation, cv conv with bias alone, skip (identity, or a 1x1 cn where
the shape changes), ip expand + global pool + 1x1 conv.
More fields: noskip (no residual), a1.1 and p1.1 (mixed kernels of the expanding and the projecting conv), g2
(1x1 convs in two groups, with a channel shuffle), d2 (two depthwise convs in a row), fc24 (middle width as if
the input had 24 channels).

The grammar is that of rwightman/gen-efficientnet-pytorch, with skip, cv, ip, g and d for the FBNet families.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.sizes import Size

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ACTIVATIONS = {"re": "relu", "r6": "relu6", "hs": "hard_swish", "sw": "swish"}
KINDS = ("ir", "ds", "dsa", "er", "cn", "cv", "skip", "ip")


@dataclass(frozen=True)
class Block:
    """One block of a network, decoded; see the module's text for the fields."""

    kind: str
    channels: int
    kernel: tuple[int, ...] = (3,)
    stride: int = 1
    expansion: float = 1.0
    se: float = 0.0
    act: str | None = None
    residual: bool = True
    expand_kernel: tuple[int, ...] = (1,)
    project_kernel: tuple[int, ...] = (1,)
    groups: int = 1
    depthwise: int = 1
    fake_in: int = 0


def _kernels(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split("."))


# field -> (pattern of its value, name in Block, conversion)
_FIELDS: dict[str, tuple[str, str, Callable[[str], object]]] = {
    "k": (r"\d\d?(?:\.\d\d?)*", "kernel", _kernels),
    "s": (r"-?[1-9]", "stride", int),
    "e": (r"\d{1,2}(?:\.\d+)?", "expansion", float),
    "c": (r"[1-9]\d{0,4}", "channels", int),
    "se": (r"\d*\.?\d+", "se", float),
    "n": ("|".join(ACTIVATIONS), "act", ACTIVATIONS.get),
    "a": (r"\d\d?(?:\.\d\d?)*", "expand_kernel", _kernels),
    "p": (r"\d\d?(?:\.\d\d?)*", "project_kernel", _kernels),
    "g": (r"[1-9]\d{0,2}", "groups", int),
    "d": (r"[12]", "depthwise", int),
    "fc": (r"[1-9]\d{0,4}", "fake_in", int),
    "r": (r"[1-9]\d{0,2}", "repeats", int),
}
_FIELD = re.compile("|".join(rf"(?P<{field}>{field}(?:{value[0]}))" for field, value in _FIELDS.items()))


def decode_block(text: str) -> tuple[Block, int]:
    """A block and how often it repeats, from its string. Raises ModelError that names the wrong field."""
    kind, *fields = text.split("_")
    values: dict = {}
    if kind not in KINDS:
        raise ModelError(f"block {text!r}: unknown kind {kind!r}; there are {', '.join(KINDS)}")
    for field in fields:
        match = _FIELD.fullmatch(field)
        if field == "noskip":
            values["residual"] = False
        elif match and (letter := match.lastgroup):
            _, name, convert = _FIELDS[letter]
            values[name] = convert(field[len(letter) :])
        else:
            raise ModelError(f"block {text!r}: unknown field {field!r}")
    if "channels" not in values:
        raise ModelError(f"block {text!r}: output channels (c...) are missing")
    repeats = values.pop("repeats", 1)
    if kind in ("cn", "cv"):
        values.setdefault("kernel", (1,))
    return Block(kind, **values), repeats


def divisible(value: float, divisor: int = 8, floor: float = 0.9) -> int:
    """The multiple of divisor nearest to value (halves up), one more where that is below floor * value."""
    rounded = max(divisor, math.floor(value / divisor + 0.5) * divisor)
    return rounded + divisor if rounded < floor * value else rounded


@dataclass(frozen=True)
class Architecture:
    """A network: its blocks, how its family builds them, and how an image becomes its input.

    stages are strings of blocks separated by blanks. layout decides the names of the state dict and the
    order of the head: "mobilenet" (geffnet's and timm's names), "fbnet" (mobile_cv's), "fbnet_v1" (those of
    the first FBNet builder). mean and std are in channel_order, of pixels / 255.
    """

    stages: tuple[str, ...]
    stem: str = "cn_k3_s2_c32"
    head: str = "cn_k1_c1280"  # "" for none
    layout: str = "mobilenet"
    act: str = "relu"
    num_classes: int = 1000
    # how wide and how deep
    width: float = 1.0
    depth: float = 1.0
    depth_rounding: str = "ceil"  # or "round"
    scale_stem: bool = True
    scale_head: str = "no"  # or "up" (only where width > 1) or "yes"
    fixed_ends: bool = False  # depth leaves the first and the last stage as they are
    divisor: int = 8  # of the expanded channels
    width_floor: float = 0.9
    # convolutions
    same_padding: bool = False  # as TensorFlow pads
    bias: str = "none"  # of convs before a BN: "none", "ends" (stem and head) or "all"
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    always_expand: bool = True  # the 1x1 expanding conv is there at expansion 1 too
    depthwise_bn: bool = True
    depthwise_act: bool = True
    # squeeze-and-excitation
    se_gate: str = "sigmoid"
    se_act: str | None = None  # the block's unless given
    se_of_expanded: bool = False  # ratio of the expanded channels, else of the block's input
    se_divisor: int = 1
    # the head
    pool_first: bool = False  # pool, then the head's conv and activation without BN
    head_bias: bool = False
    softmax: bool = False  # probabilities, in eval mode
    drop_rate: float = 0.0
    zero_last_gamma: bool = False  # the last BN of a residual branch starts at 0
    # the input
    size: Size = 224
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: str = "RGB"

    def replace(self, **changes) -> "Architecture":
        """A copy with these changes; raises ModelError for a name that is no field."""
        unknown = sorted(set(changes) - {field.name for field in dataclasses.fields(self)})
        if unknown:
            raise ModelError(f"unknown option {', '.join(unknown)} of a model")
        return dataclasses.replace(self, **changes)

    @property
    def preprocessing(self) -> dict:
        """How an image becomes the input: size, interpolation, crop_pct, mean, std, channel_order."""
        names = ("size", "interpolation", "crop_pct", "mean", "std", "channel_order")
        return {name: getattr(self, name) for name in names}

    def round_channels(self, channels: int) -> int:
        """Channels at this width; the first families were made with no rounding at width 1."""
        return channels if self.width == 1.0 else divisible(channels * self.width)

    def stem_block(self) -> Block:
        block, _ = decode_block(self.stem)
        return self._scaled(block) if self.scale_stem else block

    def head_block(self) -> Block | None:
        if not self.head:
            return None
        block, _ = decode_block(self.head)
        scale = self.scale_head == "yes" or (self.scale_head == "up" and self.width > 1)
        return self._scaled(block) if scale else block

    def stage_blocks(self) -> list[list[Block]]:
        """The blocks of each stage, one by one, at this width and depth."""
        stages = []
        for index, stage in enumerate(self.stages):
            decoded = [decode_block(text) for text in stage.split()]
            if not (self.fixed_ends and index in (0, len(self.stages) - 1)):
                decoded = self._deepened(decoded)
            blocks = []
            for block, repeats in decoded:
                block = self._scaled(block)
                blocks += [block] + [dataclasses.replace(block, stride=1)] * (repeats - 1)
            stages.append(blocks)
        return stages

    def _scaled(self, block: Block) -> Block:
        fake_in = block.fake_in and self.round_channels(block.fake_in)
        return dataclasses.replace(block, channels=self.round_channels(block.channels), fake_in=fake_in)

    def _deepened(self, decoded: list[tuple[Block, int]]) -> list[tuple[Block, int]]:
        """Repeats of a stage at this depth: their sum is scaled, then shared out from the last string."""
        left = sum(repeats for _, repeats in decoded)
        scaled = left * self.depth
        total = max(1, round(scaled) if self.depth_rounding == "round" else math.ceil(scaled))
        shares = []
        for block, repeats in reversed(decoded):
            share = max(1, round(repeats / left * total))
            shares.append((block, share))
            left, total = left - repeats, total - share
        return shares[::-1]

    @classmethod
    def from_json(cls, path: str | Path) -> "Architecture":
        """Read a definition: one JSON object with some of this class's fields, stages at least.

        "name" and "comment" are free text. Raises ModelError where the file is no such object.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: not a readable JSON definition ({error})") from None
        return cls.from_dict(values, path)

    @classmethod
    def from_dict(cls, values: object, source: str | Path) -> "Architecture":
        """What from_json reads, from the decoded JSON; source names it in errors."""
        if not isinstance(values, dict) or "stages" not in values:
            raise ModelError(f"{source}: a definition is one JSON object with at least 'stages'")
        values = {key: value for key, value in values.items() if key not in ("name", "comment")}
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        try:
            architecture = cls(()).replace(**values)
        except ModelError as error:
            raise ModelError(f"{source}: {error}") from None
        for key, value in values.items():
            default = getattr(cls, key, None)
            example = _EXAMPLES.get(key, default)
            fits = _is_size(value) if key == "size" else _alike(value, example)
            if value != default and not fits:
                raise ModelError(f"{source}: {key} is {json.dumps(value)}, not like {json.dumps(example)}")
        return architecture

    def to_json(self, **texts: str) -> str:
        """The definition that from_json reads: texts (name, comment), then what differs from the defaults."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed = {key: value for key, value in values.items() if value != getattr(Architecture, key, None)}
        return json.dumps({**texts, **changed}, indent=2) + "\n"


_EXAMPLES = {"stages": ("ir_k3_c8", "..."), "se_act": "relu"}  # of fields whose default tells no type


def _is_size(value) -> bool:
    """Whether a value from a file is a height and width, or one number for both."""
    sides = value if isinstance(value, tuple) else (value, value)
    return len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)


def _alike(value, example) -> bool:
    """Whether a value from a file has the type of an example; a number may do without its decimals."""
    if isinstance(example, tuple):
        return isinstance(value, tuple) and all(_alike(element, example[0]) for element in value)
    kinds = (int, float) if type(example) is float else (type(example),)
    return type(value) in kinds


def tensorflow(architecture: Architecture) -> Architecture:
    """The same network as TensorFlow computes it: SAME padding and its epsilon of the BN."""
    return architecture.replace(same_padding=True, bn_eps=1e-3)
