"""Ranges of what a function of each value reads: by what the function makes of it, and clamped where that is zero."""

import dataclasses

import numpy as np
import pytest
from float_nets import FloatNet, outputs_on

from exporters.int8.forms import plan
from exporters.int8.functions import functions_of_blobs
from exporters.int8.measurement import layer_errors
from exporters.int8.preparation import prepare
from exporters.int8.recipe import RECIPES
from exporters.layers import write_net

SPREAD = 5.0  # of what the functions read: most of the negative half makes next to nothing


def swish(net, x):
    return net.add("Swish", x)


def spelled_swish(net, x):
    return net.add("Mul", net.add("Sigmoid", x), x)


def quick_gelu(net, x):
    return net.add("Mul", x, net.add("Sigmoid", net.add("Mul", x, np.full(1, 1.702, np.float32), broadcast=1)))


def hard_swish(net, x):
    return net.add("Mul", x, net.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def between_convolutions(function) -> tuple[FloatNet, str]:
    net = FloatNet(3, 12, 12)
    wide = net.add("Conv", "data", net.draw(6, 3, 1, 1, scale=SPREAD), net.draw(6), kernel=1)
    net.conv(function(net, wide), 4)
    return net, wide


@pytest.mark.parametrize("function", [swish, spelled_swish, quick_gelu, hard_swish])
def test_steps_lie_where_the_function_tells_values_apart(function):
    net, wide = between_convolutions(function)
    images = net.images(16)
    result = net.quantized("fast", images)
    blob = next(layer.output for layer in result.graph.weighted if layer.output.name == wide)
    assert blob in functions_of_blobs(result.graph, plan(result.graph))
    covered, seen = result.scales[blob].range, result.calibration.blobs[blob]
    assert covered.low > 0.6 * min(value.min() for value in outputs_of(net, wide, images))
    assert covered.high > 0.5 * seen.high
    errors = {error.name: error for error in layer_errors(result, images)}
    assert errors[wide].sqnr_db > 35  # of what the function makes of it, not of what it does not look at


def outputs_of(net, blob, images):
    return [net.net().session("reference").run({"data": image[None]}, outputs=[blob])[blob] for image in images]


def test_a_reader_beside_the_function_needs_all_values():
    net = FloatNet(3, 12, 12)
    wide = net.conv("data", 6)
    net.conv(net.add("Sum", net.conv(swish(net, wide), 6), wide), 4)
    result = net.quantized("best")
    assert not functions_of_blobs(result.graph, plan(result.graph))


def test_clamped_below_a_hard_swish():
    net, wide = between_convolutions(hard_swish)
    graph = prepare(net.net(), {"data": (1, 3, 12, 12)})
    layer = next(layer for layer in graph.weighted if layer.output.name == wide)
    assert -3.1 < layer.low < -3
    images = net.images(8)
    (want,), (have,) = (outputs_on(n, images).values() for n in (net.net(), write_net(graph)))
    np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("function", [swish, quick_gelu, hard_swish])
def test_better_than_by_the_values_themselves(function):
    net, wide = between_convolutions(function)
    images, found = net.images(16), []
    for ranges in ("mse", "minmax"):
        result = net.quantized(dataclasses.replace(RECIPES["fast"], ranges=ranges), images)
        found += [error.sqnr_db for error in layer_errors(result, images) if error.name == wide]
    assert found[0] > found[1] + (0 if function is hard_swish else 1)  # whose clamp helps any range


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_product_with_the_function_of_another_blob_is_no_function(recipe):
    net = FloatNet(3, 12, 12)
    net.conv(net.add("Mul", net.conv("data", 6), net.add("Sigmoid", net.conv("data", 6))), 4)
    result = net.quantized(recipe)
    names = {blob.name for blob in functions_of_blobs(result.graph, plan(result.graph))}
    assert len(names) <= 1
