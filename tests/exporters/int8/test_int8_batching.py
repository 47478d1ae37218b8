"""Nets that mix the images of a batch: calibrated, rounded and compared one image after the other."""

import numpy as np
import pytest
from float_nets import FloatNet, sqnr_db

from exporters.int8.batching import mixes_images
from exporters.int8.measurement import compare_answers, layer_errors
from exporters.int8.recipe import RECIPES

TIMES = 7


def recognizer(by_rows: bool) -> FloatNet:
    """A text recognizer's head on the columns of an image: rows [T * N, C] for an FC, or pixels for a Conv."""
    net = FloatNet(3, 4, TIMES + 3)
    x = net.conv("data", 6, kernel=4, pad=0, relu=True)
    weight, bias = net.draw(5, 6, scale=0.5), net.draw(5)
    if not by_rows:
        net.add("Conv", x, weight[:, :, None, None], bias, kernel=1)
        return net
    x = net.add("Transpose", net.add("Squeeze", x, dims=[2]), axes=[2, 0, 1])
    x = net.add("FC", net.add("Reshape", x, shape=[-1, 6], outputs=2), weight, bias)
    net.add("Reshape", x, shape=[TIMES, -1, 5], outputs=2)
    return net


def flattened() -> FloatNet:
    net = FloatNet(3, 4, 4)
    net.add("FlattenToVec", net.conv("data", 4))
    return net


def of_one_image() -> FloatNet:
    """Exported with a batch of one, which its reshape spells out between others."""
    net = FloatNet(3, 8, 8)
    x = net.add("Reshape", net.conv("data", 8), shape=[2, 4, 8, 8], outputs=2)
    x = net.add("Reshape", net.conv(x, 4), shape=[1, 512], outputs=2)
    net.fc(x, 3)
    return net


def normalized(kind: str, axis: int) -> FloatNet:
    """Scores over which a function of rows goes."""
    net = FloatNet(3, 4, 4)
    net.add(kind, net.fc(net.conv("data", 4), 5), axis=axis)
    return net


MIXING = {"recognizer": lambda: recognizer(True), "flattened": flattened, "of one image": of_one_image}


@pytest.mark.parametrize("kind", ["Softmax", "Normalize"])
def test_a_function_of_rows_mixes_images_along_the_first_axis(kind):
    for axis, mixes in ((0, True), (-2, True), (1, False), (-1, False)):
        net = normalized(kind, axis)
        assert mixes_images(net.net(), {"data": net.input_shape}) == mixes
        answers = compare_answers(net.net(), net.quantized("minmax").net, net.images(), None)
        assert min(errors.sqnr_db for errors in answers.outputs.values()) > 20


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", MIXING)
def test_one_image_after_the_other(name, recipe):
    net = MIXING[name]()
    assert mixes_images(net.net(), {"data": net.input_shape})
    result, images = net.quantized(recipe), net.images()
    answers = compare_answers(net.net(), result.net, images, None)
    ((_, errors),) = answers.outputs.items()
    assert answers.images == len(images) and errors.sqnr_db > 25
    assert min(error.sqnr_db for error in layer_errors(result, images)) > 20
    for image in images:
        want, have = (
            next(iter(n.session("reference").run({"data": image[None]}).values())) for n in (net.net(), result.net)
        )
        assert want.shape == have.shape and sqnr_db(want, have) > 20


def outputs_of(result):
    return [layer.output for layer in result.graph.weighted]


@pytest.mark.parametrize("recipe", RECIPES)
def test_rows_are_calibrated_as_pixels_are(recipe):
    by_rows, by_pixels = recognizer(True), recognizer(False)
    assert not mixes_images(by_pixels.net(), {"data": by_pixels.input_shape})
    rows, pixels = (net.quantized(recipe) for net in (by_rows, by_pixels))
    ranges = [
        [(seen.low, seen.high, seen.images) for seen in (result.calibration.blobs[y] for y in outputs_of(result))]
        for result in (rows, pixels)
    ]
    if recipe == "minmax":  # without corrections, which see more of pixels
        np.testing.assert_allclose(*ranges, rtol=1e-5)
    images = by_rows.images()
    for image in images:
        (first,), (second,) = (
            result.net.session("reference").run({"data": image[None]}).values() for result in (rows, pixels)
        )
        assert sqnr_db(second[0, :, 0].T, first[:, 0]) > 25


@pytest.mark.parametrize("transposed", [False, True])
def test_fully_connected_layers_of_rows_are_int8(transposed):
    """As attention has them: [N, T, K], of which the last axis is multiplied."""
    net = FloatNet(3, 4, TIMES + 3)
    x = net.add("Squeeze", net.conv("data", 6, kernel=4, pad=0, relu=True), dims=[2])
    x = net.add("Transpose", x, axes=[0, 2, 1])
    for outputs in (12, 5):
        weight = net.draw(outputs, 6 if outputs == 12 else 12, scale=0.5)
        kind, weight = ("FCTransposed", weight.T.copy()) if transposed else ("FC", weight)
        x = net.add("Relu", net.add(kind, x, weight, net.draw(outputs), axis=2))
    result, images = net.quantized("best"), net.images()
    assert [node.type for node in result.net.operators].count("Int8FC") == 2
    answers = compare_answers(net.net(), result.net, images, None)
    ((_, errors),) = answers.outputs.items()
    assert errors.sqnr_db > 25
    (want,), (have,) = (n.session("reference").run({"data": images[:2]}).values() for n in (net.net(), result.net))
    assert want.shape == have.shape == (2, TIMES, 5) and sqnr_db(want, have) > 25
