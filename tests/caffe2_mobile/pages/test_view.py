"""What a page is made of: rows, blocks, times, noise, findings; and the command."""

import dataclasses
import json

import numpy as np
import pytest

from caffe2_mobile import (
    InspectOptions,
    LatencyOptions,
    ModelError,
    QuantizeOptions,
    ViewOptions,
    inspect,
    latency,
    load_net,
    quantize,
    view,
)
from caffe2_mobile.api.quantize import labels_for
from caffe2_mobile.commands import view as view_command
from caffe2_mobile.pages.operators import list_operators
from caffe2_models import Net
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.published import published_net
from exporters.int8.measurement import compare_answers
from exporters.int8.recipe import find_recipe
from validate.calibration import open_images

OFF = ViewOptions(runs=0)


def test_the_figures_are_those_of_the_other_commands(result, pair):
    _, int8 = pair
    cost = inspect(int8).cost
    assert [row.macs for row in result.rows] == [row.macs for row in cost.operators]
    assert [row.parameters for row in result.rows] == [row.parameters for row in cost.operators]
    assert [(row.outputs[0].scale, row.outputs[0].zero_point) for row in result.rows] == [
        (row.scale, row.zero_point) for row in cost.operators
    ]
    device, here = result.times
    looked_up = latency(int8, LatencyOptions(estimate=True)).latency
    assert [*device.by_place.values()] == [layer.time_us for layer in looked_up.layers]
    assert device.total_us == looked_up.total_us and [*device.provenance.values()] == ["estimated"] * len(result.rows)
    assert here.key == "here" and all(time > 0 for time in here.by_place.values())


def test_what_feeds_what(result):
    rows = {row.output: row for row in result.rows}
    for row in result.rows:
        for blob in row.inputs:
            assert blob.is_parameter or blob.name == "data" or result.rows[blob.source].output == blob.name
    assert [blob.name for blob in rows["block.0.sum_int8"].inputs] == ["block.0.pwl_int8", "stem_relu_int8"]
    assert {row.block for row in result.rows if row.output.startswith("block.0.")} == {"block 1"}


def test_noise_and_ranges_are_what_the_nets_compute(result, pair, images):
    float_net, int8 = pair
    chosen = open_images(images, 100, get_preprocessing(int8.predict), 3)
    batch = np.stack([image for image, _ in zip(chosen, range(8), strict=False)])
    real = float_net.session().run({"data": batch}, ["scores"])["scores"]
    quantized = int8.session().run({"data": batch}, ["scores_int8", "stem_relu_int8"])
    error = {error.name: error for error in result.errors}["scores_int8"]
    noise = ((quantized["scores_int8"].dequantize() - real) ** 2).sum() / (real**2).sum()
    assert error.sqnr_db == pytest.approx(-10 * np.log10(noise), abs=0.01) and not error.is_aligned
    seen, stem = result.activations["stem_relu_int8"], quantized["stem_relu_int8"]
    assert (seen.low, seen.high) == (0, pytest.approx(stem.dequantize().max()))
    assert seen.at_highest == pytest.approx((stem.data == 255).mean())
    assert sum(seen.counts) == stem.data.size and seen.counts[0] == (stem.data < 4).sum()
    assert seen.dead_channels == (stem.data.max(axis=(0, 1, 2)) == 0).sum() == 1


def test_equalized_channels_are_no_noise(pair, images):
    """The fast recipe scales channels; what the page says of them is near to what the quantizer's own report does."""
    result = view(*pair, ViewOptions(images=images, runs=0))
    aligned = [error for error in result.errors if error.is_aligned]
    noise = {error.name: error.sqnr_db for error in result.errors}
    assert noise.pop("scores_int8") > 15  # improbable classes are clipped, to leave finer steps to the others
    assert min(noise.values()) > 20, noise
    assert all(error.noise < 0.01 for error in aligned)


def test_parts_of_scores_are_at_their_ends_on_purpose(pair, images):
    recipe = dataclasses.replace(find_recipe("fast"), fine_scores=True)
    int8 = quantize(pair[0], images, QuantizeOptions(recipe=recipe, calibration_images=8)).net
    result = view(pair[0], int8, ViewOptions(images=images, runs=0))
    assert {error.name: error.sqnr_db for error in result.errors}["scores"] > 15
    parts = [row.place for row in result.rows if row.type == "Int8FC"]
    assert len(parts) == 2 and any(result.activations[result.rows[place].output].clamped for place in parts)
    assert not any(
        set(parts) & set(finding.places) for finding in result.findings if "ends of the range" in finding.text
    )


def test_answers_and_thumbnails(result, pair, images):
    chosen = open_images(images, 100, get_preprocessing(pair[1].predict), 3)
    answers = compare_answers(*pair, chosen, labels_for(pair[1], chosen, (1, 3, 32, 32)))
    assert result.answers == answers and answers.images == 40 and answers.labelled
    assert len(result.changes) == len(answers.changes)
    assert all(change.thumbnail.startswith("data:image/jpeg;base64,") for change in result.changes)


def test_either_order_is_the_same_pair(pair):
    assert view(pair[1], pair[0], OFF).to_dict() == view(*pair, OFF).to_dict()
    with pytest.raises(ModelError, match="are both float; expected a float net and its int8 form"):
        view(pair[0], pair[0], OFF)


def test_the_findings_name_what_costs_most(result):
    slowest = max(result.times[0].by_place, key=lambda place: result.times[0].by_place[place])
    guilty = max(result.errors, key=lambda error: error.added)
    by_text = {finding.text.partition(":")[0].partition(" by ")[0]: finding for finding in result.findings}
    assert by_text["on SM-G950U-7.0-24"].places[0] == slowest
    assert result.rows[by_text["most noise is added"].places[0]].output == guilty.name


def test_a_scale_that_qnnpack_refuses_is_a_problem():
    net = published_net("FBNet-96/int8")
    proto = caffe2_pb2.NetDef.FromString(net.predict.SerializeToString())
    place = next(k for k, op in enumerate(proto.op) if op.type == "Int8Conv")
    next(argument for argument in proto.op[place].arg if argument.name == "Y_scale").f = 1e-12
    result = view(Net(proto, net.init), options=OFF)
    first = result.findings[0]
    assert (first.weight, first.places) == ("problem", (place,))
    assert inspect(Net(proto, net.init)).problems == [f.text for f in result.findings if f.weight == "problem"]
    assert f'data-key="{place}"' in result.to_html()


def test_nets_within_operators_are_rows_of_their_own(shared, tmp_path):
    folder = shared / "golden" / "wild_nets" / "lstm_two_layers"
    net = load_net(folder / "predict.pb", folder / "init.pb")
    rows = list_operators(net, None).rows
    own = [row for row in rows if row.parent is None]
    assert [row.label for row in own] == [str(k) for k in range(len(net.operators))]
    holder = next(row for row in rows if row.type == "RecurrentNetwork")
    inner = [row for row in rows if row.parent == holder.place]
    assert inner and {row.block for row in inner} == {f"RecurrentNetwork {holder.label}/step_net"}
    assert view(net, options=OFF).to_html().count('class="operator"') == len(rows)


def test_a_graph_without_weights_is_shown(shared):
    path = shared / "published" / "others" / "mask_rcnn_2go_model_int8_model.pbtxt"
    result = view(path, options=OFF)
    assert result.rows and not result.times and "shape of input" in result.notes[0]
    page = result.to_html()
    assert page.count('class="input"') == 1 and "data → score_nms" in page  # none of the parameters


def test_a_thousand_operators_take_less_than_two_megabytes(thousand):
    assert len(thousand.rows) == 1000 and thousand.inspected.is_good
    assert len(thousand.to_html().encode()) < 2_000_000


def test_notes_of_one_kind_are_cut_short(pair):
    net = pair[0]
    idle = caffe2_pb2.NetDef.FromString(net.init.SerializeToString())
    for number in range(9):
        idle.op.add(type="ConstantFill", output=[f"idle{number}"]).arg.add(name="shape").ints.append(1)
    texts = [str(finding) for finding in view(Net(net.predict, idle), options=OFF).findings]
    assert texts[-4:] == [f"parameter idle{number} is never read" for number in range(3)] + [
        "and 6 notes more of this kind"
    ]


@pytest.fixture
def saved(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair[0].save("small")
    pair[1].save("small_int8")
    return tmp_path


def test_the_command_prints_what_the_page_begins_with(saved, capsys):
    assert view_command.main(["small", "small_int8", "--runs", "0"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "small_int8.html"
    assert printed[1:-1] == [str(finding) for finding in view("small_int8", "small", OFF).findings]
    assert view_command.main(["small", "small_int8", "--runs", "0", "-o", "figures.json"]) == 0
    figures = json.loads((saved / "figures.json").read_text())
    assert figures == json.loads(json.dumps(view("small_int8", "small", OFF).to_dict()))


def test_a_net_with_something_wrong_has_a_page_and_status_1(saved):
    net = load_net("small.predict.pb", "small.init.pb")
    net.predict.op[0].input[0] = "nothing"
    net.save("bad")
    assert view_command.main(["bad", "--runs", "0"]) == 1
    assert "is read before anything writes it" in (saved / "bad.html").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-o", "page.pdf"], "invalid file name page.pdf: expected one in .html or .json"),
        (["-o", "small.init.pb/page.html"], "is not a folder"),
        (["--images", "missing"], "missing: no such folder of images"),
        (["--runs", "-1"], "invalid runs -1: expected 0 or more"),
        (["--class-names", "missing.txt", "--images", "."], "no images"),
    ],
)
def test_bad_flags(saved, flags, message):
    with pytest.raises(ModelError, match=message):
        view_command.main(["small", *flags])


def test_the_inputs_of_inspect_are_the_pages(pair):
    net = pair[0]
    shape = {"data": (1, 3, 48, 64)}
    result = view(net, options=ViewOptions(runs=0, input_dims=shape))
    assert result.inspected.cost.macs == inspect(net, InspectOptions(input_dims=shape)).cost.macs
