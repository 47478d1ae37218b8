"""Recipes: which ranges and which corrections the quantizer uses."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from caffe2_common.errors import ModelError
from exporters.int8.ranges import METHODS


@dataclass(frozen=True)
class Recipe:
    """ranges: how activation ranges are chosen (see exporters.int8.ranges).

    The rest are corrections: dead_channels zeroes weights around channels that never fire; equalization scales
    channels between layers; absorption moves constant parts of activations into biases; bias_correction gives every
    channel its mean back; clipping narrows weight ranges; compensation rounds weights so that errors cancel;
    room makes activation ranges wider than what was seen; splitting makes dead channels copies of others, whose
    steps are finer together; fine_scores gives scores of classes twice as many steps;
    refitting changes weights for what their inputs err by; exact_pixels puts images of bytes on the input's steps.
    widening: multiplications that copies of channels in places of their own may add, as a share of the net's.
    seconds: time after which remaining layers are rounded to nearest; None: however long it takes, and the same
    every time.
    """

    ranges: str = "mse"
    dead_channels: bool = True
    equalization: bool = True
    absorption: bool = True
    bias_correction: bool = True
    clipping: bool = True
    compensation: bool = True
    room: bool = True
    splitting: bool = True
    fine_scores: bool = False
    refitting: bool = True
    exact_pixels: bool = False
    widening: float = 0.0
    seconds: float | None = None

    @property
    def simulates(self) -> bool:
        """Whether the int8 net is run on the images while it is made."""
        return self.bias_correction or self.clipping or self.compensation or self.refitting


SWITCHES = [field.name for field in dataclasses.fields(Recipe) if field.type is bool]
TYPES = {
    "ranges": (str,),
    **dict.fromkeys(SWITCHES, (bool,)),
    "widening": (float, int),
    "seconds": (float, int, type(None)),
}
OFF = dict.fromkeys(SWITCHES, False)

RECIPES = {
    "best": Recipe(),
    "tuned": Recipe(fine_scores=True, exact_pixels=True, widening=0.25),
    "fast": Recipe(compensation=False, clipping=False, refitting=False),
    "minmax": Recipe(ranges="minmax", **OFF),
}
DEFAULT = "best"


def find_recipe(name: str) -> Recipe:
    """A named recipe, or one from a JSON file of Recipe's fields; raises ModelError."""
    if name in RECIPES:
        return RECIPES[name]
    if not name.endswith(".json"):
        raise ModelError(f"recipe {name} is none of {', '.join(RECIPES)}, and no .json file")
    try:
        values = json.loads(Path(name).read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{name}: is no JSON ({error})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{name}: an object with the fields of a recipe is expected")
    for key, value in values.items():
        wanted = TYPES.get(key)
        if wanted is None:
            raise ModelError(f"{name}: {key} is no field of a recipe; there are {', '.join(TYPES)}")
        if type(value) not in wanted:
            raise ModelError(f"{name}: {key} is {value!r}; {' or '.join(t.__name__ for t in wanted)} is expected")
    recipe = Recipe(**values)
    if recipe.widening < 0:
        raise ModelError(f"{name}: widening is {recipe.widening:g}; a share from zero on is expected")
    if recipe.ranges not in METHODS:
        raise ModelError(f"{name}: ranges {recipe.ranges} is none of {', '.join(METHODS)}")
    return recipe
