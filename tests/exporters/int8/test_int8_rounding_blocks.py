"""Bounds of the quantizer's work, and what few images leave open."""

import json

import numpy as np
import pytest
from float_nets import weighted_layer

from caffe2_common.errors import ModelError
from exporters.int8 import weights
from exporters.int8.ranges import with_room
from exporters.int8.recipe import RECIPES, find_recipe
from exporters.int8.scales import Range
from exporters.layers import Layer


def make_layer(rng, group: int, outputs: int, inputs: int) -> Layer:
    weight = rng.normal(size=(group * outputs, inputs, 1, 1)).astype(np.float32)
    return weighted_layer("Conv", weight, kernel=1, group=group)


@pytest.mark.parametrize("group", [1, 3])
def test_long_rows_are_rounded_in_blocks(group, monkeypatch):
    """Each block as a layer of its own would be."""
    rng = np.random.default_rng(group)
    layer = make_layer(rng, group, 5, 12)
    inputs = rng.normal(size=(group, 50, 12)) @ rng.normal(size=(group, 12, 12))
    monkeypatch.setattr(weights, "MOST_INPUTS", 5)
    blocks = weights.split_inputs(inputs)
    assert blocks.shape == (group * 3, 50, 4)
    covariance = weights.estimate_covariance(blocks)
    np.testing.assert_array_equal(
        weights.join_rows(weights.split_rows(layer.rows, group, covariance), group), layer.rows
    )
    quantization = weights.round_to_nearest(layer, 0.0).quantization
    whole = weights.round_with_compensation(layer, covariance, quantization).data.reshape(group * 5, 12)
    for index in range(len(covariance)):
        g, block = divmod(index, 3)
        rows, columns = slice(5 * g, 5 * g + 5), slice(4 * block, 4 * block + 4)
        part = make_layer(rng, 1, 5, 4)
        part.weight = layer.weight[rows, columns]
        alone = weights.round_with_compensation(part, covariance[index : index + 1], quantization)
        np.testing.assert_array_equal(whole[rows, columns], alone.data.reshape(5, 4))


def test_compensation_is_the_same_in_chunks_of_columns(monkeypatch):
    """But for float32 sums in another order: a value in a thousand may take the step beside."""
    rng = np.random.default_rng(0)
    layer = make_layer(rng, 1, 40, 150)
    covariance = weights.estimate_covariance(rng.normal(size=(1, 400, 150)) @ rng.normal(size=(1, 150, 150)))
    quantization = weights.round_to_nearest(layer, 0.0).quantization
    chunked = weights.round_with_compensation(layer, covariance, quantization).data
    monkeypatch.setattr(weights, "COLUMNS", 150)
    assert (chunked != weights.round_with_compensation(layer, covariance, quantization).data).mean() < 1e-3


def test_ranges_have_more_room_the_fewer_the_images():
    free, relu6 = Range(-np.inf, np.inf), Range(0.0, 6.0)
    assert with_room(Range(-1.0, 2.0), free, 1) == Range(-2.0, 4.0)
    assert with_room(Range(-1.0, 2.0), free, 100) == Range(-1.1, 2.2)
    assert with_room(Range(0.0, 5.9), relu6, 100) == Range(0.0, 6.0)
    assert with_room(Range(0.0, 3.0), relu6, 4) == Range(0.0, 4.5)


def test_recipe_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"ranges": "kl", "room": False, "seconds": 3}))
    recipe = find_recipe(str(path))
    assert (recipe.ranges, recipe.room, recipe.seconds, recipe.clipping) == ("kl", False, 3, True)
    assert RECIPES["best"].seconds is None  # by default no clock decides


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "is no JSON"),
        ("[]", "an object"),
        ('{"rounds": 3}', "rounds is no field"),
        ('{"room": 1}', "room is 1; bool"),
        ('{"seconds": true}', "seconds is True; float or int"),
        ('{"ranges": "best"}', "is none of minmax"),
    ],
)
def test_bad_recipe_file_is_one_line(tmp_path, content, words):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=words) as raised:
        find_recipe(str(path))
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
