"""Recipes: which ranges and which corrections the quantizer uses."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from caffe2_models.errors import ModelError
from exporters.int8.ranges import METHODS


@dataclass(frozen=True)
class Recipe:
    """ranges: how activation ranges are chosen (see exporters.int8.ranges).

    The rest are corrections: dead_channels zeroes weights around channels that never fire; equalization scales
    channels between layers; absorption moves constant parts of activations into biases; bias_correction gives every
    channel its mean back; clipping narrows weight ranges; compensation rounds weights so that errors cancel.
    seconds: time after which remaining layers are rounded to nearest.
    """

    ranges: str = "mse"
    dead_channels: bool = True
    equalization: bool = True
    absorption: bool = True
    bias_correction: bool = True
    clipping: bool = True
    compensation: bool = True
    seconds: float = 120.0

    @property
    def simulates(self) -> bool:
        """Whether the int8 net is run on the images while it is made."""
        return self.bias_correction or self.clipping or self.compensation


OFF = {f.name: False for f in dataclasses.fields(Recipe) if f.type == "bool" or f.type is bool}

RECIPES = {
    "best": Recipe(),
    "fast": Recipe(compensation=False, clipping=False, seconds=60.0),
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
        values = json.loads(Path(name).read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{name}: is no JSON ({error})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{name}: an object with the fields of a recipe is expected")
    known = {field.name: field.type for field in dataclasses.fields(Recipe)}
    for key, value in values.items():
        wanted = known.get(key)
        if wanted is None:
            raise ModelError(f"{name}: {key} is no field of a recipe; there are {', '.join(known)}")
        if not (isinstance(value, wanted) or (wanted is float and type(value) is int)):
            raise ModelError(f"{name}: {key} is {value!r}; a {wanted.__name__} is expected")
    recipe = Recipe(**values)
    if recipe.ranges not in METHODS:
        raise ModelError(f"{name}: ranges {recipe.ranges} is none of {', '.join(METHODS)}")
    return recipe
