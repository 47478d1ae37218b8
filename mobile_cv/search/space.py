"""Search spaces as data: layers of fixed channels and stride, and the blocks that each may become.

A candidate is a block string of the zoo without its channels and stride: "ir_k5_e6", "ir_k3_e1_g2", "skip".
"""

import functools
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo.architecture import Architecture, decode_block
from mobile_cv.model_zoo.networks import build

# The nine blocks of the FBNet paper (arXiv:1812.03443, table 2), in its order.
FBNET_CANDIDATES = (
    "ir_k3_e1",
    "ir_k3_e1_g2",
    "ir_k3_e3",
    "ir_k3_e6",
    "ir_k5_e1",
    "ir_k5_e1_g2",
    "ir_k5_e3",
    "ir_k5_e6",
    "skip",
)

# The layout whose networks are a stem, a row of blocks and a tail; spaces are made of these.
LAYOUT = "fbnet_v1"

MAX_LAYERS = 200


@dataclass(frozen=True)
class Stage:
    """Layers of the same channels; the first has the stride. candidates: the space's unless given."""

    channels: int
    repeats: int = 1
    stride: int = 1
    candidates: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Layer:
    """One searched layer."""

    channels: int
    stride: int
    candidates: tuple[str, ...]

    def block(self, choice: int) -> str:
        """The block string of a candidate in this layer."""
        return f"{self.candidates[choice]}_s{self.stride}_c{self.channels}"


@dataclass(frozen=True)
class SearchSpace:
    """Networks that differ in the block of each layer.

    network is what they share: an Architecture without stages, of the layout "fbnet_v1". A network of the
    space is told by its choices, one index into the candidates per layer.
    """

    name: str
    stages: tuple[Stage, ...]
    network: Architecture
    candidates: tuple[str, ...] = FBNET_CANDIDATES

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(
            Layer(stage.channels, stage.stride if index == 0 else 1, stage.candidates or self.candidates)
            for stage in self.stages
            for index in range(stage.repeats)
        )

    @property
    def width(self) -> int:
        """The largest number of candidates of a layer."""
        return max(len(layer.candidates) for layer in self.layers)

    @property
    def available(self) -> torch.Tensor:
        """bool [layers, width]: whether the layer has that many candidates."""
        counts = torch.tensor([len(layer.candidates) for layer in self.layers])
        return torch.arange(self.width) < counts[:, None]

    @property
    def size(self) -> int:
        """How many networks it holds."""
        return math.prod(len(layer.candidates) for layer in self.layers)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The network of these choices. Raises ModelError where they are none of the space."""
        if len(choices) != len(self.layers):
            raise ModelError(f"space {self.name} has {len(self.layers)} layers, not {len(choices)}")
        for index, (layer, choice) in enumerate(zip(self.layers, choices, strict=True)):
            if not 0 <= choice < len(layer.candidates):
                raise ModelError(f"layer {index} of space {self.name} has no candidate {choice}")
        blocks = (layer.block(choice) for layer, choice in zip(self.layers, choices, strict=True))
        return self.network.replace(stages=tuple(blocks))

    def columns(self) -> list[list[int]]:
        """Choices whose networks together hold every candidate of every layer: candidate k throughout."""
        counts = [len(layer.candidates) for layer in self.layers]
        return [[min(column, count - 1) for count in counts] for column in range(self.width)]

    def fit(self, num_classes: int, mean: Sequence[float], std: Sequence[float]) -> "SearchSpace":
        """The space for data of so many classes and this mean and std (of pixels / 255, RGB)."""
        network = self.network.replace(num_classes=num_classes, mean=tuple(mean), std=tuple(std))
        return SearchSpace(self.name, self.stages, network, self.candidates)

    def describe(self, choices: Sequence[int]) -> str:
        """The candidates chosen, in order."""
        return " ".join(layer.candidates[c] for layer, c in zip(self.layers, choices, strict=True))

    @classmethod
    def from_json(cls, path: str | Path) -> "SearchSpace":
        """Read a space: one JSON object with name, candidates, stages (objects with channels and, where they
        are not 1, repeats and stride; candidates of their own) and any field of an Architecture.

        Raises ModelError, in one line, where the file is no such object or its networks cannot be built.
        """
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{path}: not a readable JSON definition of a space ({error})") from None
        if not isinstance(values, dict) or not isinstance(values.get("stages"), list) or not values["stages"]:
            raise ModelError(f"{path}: a space is one JSON object with at least 'stages', a list of objects")
        stages = tuple(_stage(path, index, stage) for index, stage in enumerate(values["stages"]))
        candidates = _candidates(path, values.pop("candidates", list(FBNET_CANDIDATES)))
        name = str(values.get("name", path.stem))
        try:
            network = Architecture.from_dict({"layout": LAYOUT, **values, "stages": []}, path)
        except ModelError as error:
            raise ModelError(str(error)) from None
        space = cls(name, stages, network, candidates)
        space.check(path)
        return space

    def check(self, source: str | Path) -> None:
        """Raise ModelError unless every candidate can be built where it stands."""
        if self.network.layout != LAYOUT:
            raise ModelError(f"{source}: the layout of a space is {LAYOUT!r}, not {self.network.layout!r}")
        if len(self.layers) > MAX_LAYERS:
            raise ModelError(f"{source}: {len(self.layers)} layers, more than the {MAX_LAYERS} allowed")
        try:
            with torch.device("meta"):
                for choices in self.columns():
                    build(self.architecture(choices))
        except (ModelError, ValueError, RuntimeError, TypeError) as error:
            raise ModelError(f"{source}: {error}") from None


def _stage(path: Path, index: int, values: object) -> Stage:
    where = f"{path}: stage {index}"
    if not isinstance(values, dict) or not values.keys() <= {"channels", "repeats", "stride", "candidates"}:
        raise ModelError(f"{where} is no object of channels, repeats, stride, candidates")
    values = {"channels": 0, **values}
    candidates = values.pop("candidates", None)
    for key, value in values.items():
        if type(value) is not int or not 1 <= value <= 99999:
            raise ModelError(f"{where}: {key} is {json.dumps(value)}, not a positive number")
    return Stage(**values, candidates=None if candidates is None else _candidates(where, candidates))


def _candidates(where: str | Path, values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not values or len({str(value) for value in values}) < len(values):
        raise ModelError(f"{where}: candidates are a list of different block strings")
    for value in values:
        if not isinstance(value, str) or re.search(r"_[crs]-?\d", value):
            raise ModelError(f"{where}: candidate {value!r}: a block string without repeats, channels, stride")
        try:
            decode_block(f"{value}_c1")
        except ModelError as error:
            raise ModelError(f"{where}: {error}") from None
    return tuple(values)


def _network(**fields) -> Architecture:
    return Architecture(stages=(), layout=LAYOUT, divisor=1, interpolation="bilinear", **fields)


# The published space (table 1 of the paper): 22 layers, 9^22 networks, for ImageNet.
FBNET_STAGES = (
    Stage(16),
    Stage(24, repeats=4, stride=2),
    Stage(32, repeats=4, stride=2),
    Stage(64, repeats=4, stride=2),
    Stage(112, repeats=4),
    Stage(184, repeats=4, stride=2),
    Stage(352),
)

SPACES = {
    space.name: space
    for space in (
        SearchSpace("fbnet", FBNET_STAGES, _network(stem="cn_k3_s2_c16", head="cn_k1_c1504")),
        # For 32 x 32 images: the stem keeps their size.
        SearchSpace(
            "fbnet_cifar10",
            FBNET_STAGES,
            _network(stem="cn_k3_c16", head="cn_k1_c1504", num_classes=10, size=32, crop_pct=1.0),
        ),
        # Reduced, for minutes on a CPU: 6 layers, 9^6 networks.
        SearchSpace(
            "fbnet_digits",
            (Stage(16, repeats=2, stride=2), Stage(24, repeats=2, stride=2), Stage(32, repeats=2)),
            _network(stem="cn_k3_s2_c8", head="cn_k1_c64", num_classes=10, size=32, crop_pct=1.0),
        ),
    )
}


def get_space(name: str, data: str | None = None) -> SearchSpace:
    """A space by name, in its form for that data where there is one, or from a .json file."""
    if name.endswith(".json"):
        return SearchSpace.from_json(name)
    for known in (f"{name}_{data}", name):
        if known in SPACES:
            return SPACES[known]
    raise ModelError(f"no search space named {name!r}; there are {', '.join(SPACES)}, or give a .json file")


def orderings(candidates: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (a, b) of which a must not be slower: b is a with the next larger kernel or expansion.

    Only of ungrouped inverted residuals: the published nine make 7 pairs a layer, 154 in 22 layers.
    """
    blocks = [decode_block(f"{candidate}_c1")[0] for candidate in candidates]
    residuals = [i for i, block in enumerate(blocks) if block.kind == "ir" and block.groups == 1]
    pairs = []
    for a, b in itertools.permutations(residuals, 2):
        larger = [i for i in residuals if _grows(blocks[a], blocks[i])]
        if b in larger and not any(_grows(blocks[i], blocks[b]) for i in larger):
            pairs.append((a, b))
    return pairs


def _grows(small, large) -> bool:
    """Whether a block is another with a larger kernel or expansion, and nothing else."""
    same_kernel, same_expansion = small.kernel == large.kernel, small.expansion == large.expansion
    if same_kernel == same_expansion:
        return False
    alike = vars(small) | {"kernel": large.kernel, "expansion": large.expansion} == vars(large)
    return alike and (small.kernel < large.kernel or small.expansion < large.expansion)
