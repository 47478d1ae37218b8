"""Results and predictions: what is written comes back, and shards come together exactly."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from validate.outcomes import Outcomes, Totals
from validate.predictions import Predictions, compare_predictions
from validate.results import Result, merge

RESULT = Result(
    model="net",
    form="caffe2-int8",
    backend="exact",
    preprocessing=Preprocessing(size=160, interpolation="bilinear", mean=(0.5,) * 3),
    param_count=1_234_567,
    totals=Totals(n=400, top1=300, top5=350, loss=5 << 24, broken=1),
    seconds=2.0,
    now=400,
    fingerprint="f",
    images="i",
    broken={"a/b.JPEG": "ends early"},
)


def test_json_comes_back(tmp_path):
    RESULT.save(tmp_path / "r.json")
    assert Result.from_json(tmp_path / "r.json") == RESULT
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["model"] == "net" and content["n"] == 400
    assert (content["top1"], content["top5"], content["images_per_second"]) == (75.0, 87.5, 200.0)
    low, high = content["top1_interval"]
    assert low < 75 < high
    assert content["loss"] == 0.0125


def test_csv_has_the_columns_of_the_published_tables(tmp_path):
    RESULT.save(tmp_path / "r.csv")
    (row,) = csv.DictReader((tmp_path / "r.csv").read_text().splitlines())
    names = "model top1 top1_err top5 top5_err param_count img_size crop_pct interpolation form backend n"
    assert list(row) == names.split()
    assert row["top1_err"] == "25.0" and row["param_count"] == "1.23" and row["img_size"] == "160"


def test_text_names_broken_images(tmp_path):
    RESULT.save(tmp_path / "r.txt")
    text = (tmp_path / "r.txt").read_text()
    assert "top-1   75.00 %" in text and "a/b.JPEG: ends early" in text


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"\.json, \.csv"):
        RESULT.save(tmp_path / "r.xml")


TEXT_TOTALS = RESULT.to_json().replace('"n": 400', '"n": "many"').encode()


def shards(count: int) -> list[Result]:
    return [dataclasses.replace(RESULT, shard=(k, count), totals=Totals(10 + k, k, 5, k)) for k in range(count)]


def test_shards_add_up_in_any_order():
    merged = merge(shards(3)[::-1])
    assert merged.totals == Totals(33, 3, 15, 3)
    assert merged.shard == (0, 1)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (shards(3)[:2], "each of 1/3"),
        ([*shards(3), shards(3)[0]], "once"),
        ([shards(2)[0], shards(3)[1]], "shards"),
        ([shards(2)[0], dataclasses.replace(shards(2)[1], fingerprint="g")], "fingerprint"),
        ([shards(2)[0], dataclasses.replace(shards(2)[1], images="j")], "images"),
        ([shards(2)[0], dataclasses.replace(shards(2)[1], preprocessing=Preprocessing())], "preprocessing"),
    ],
)
def test_what_is_no_whole_run_is_not_merged(results, message):
    with pytest.raises(ModelError, match=message):
        merge(results)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"model": 1, "totals": {"x": 2}}', TEXT_TOTALS])
def test_what_is_no_result_is_refused(tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"r\.json"):
        Result.from_json(tmp_path / "r.json")


def predictions(images: str, labels, predicted) -> Predictions:
    outcomes = Outcomes(len(labels))
    outcomes.top[:, 0] = predicted
    outcomes.rank[:] = np.array(labels) != np.array(predicted)
    outcomes.loss[:] = 0.25
    return Predictions(list(images), np.array(labels), outcomes)


def test_predictions_come_back(tmp_path):
    predictions("abc", [1, 2, 3], [1, 0, -1]).save(tmp_path / "p.csv")
    again = Predictions.load(tmp_path / "p.csv")
    assert again.images == ["a", "b", "c"] and again.labels.tolist() == [1, 2, 3]
    assert again.outcomes.top[:, 0].tolist() == [1, 0, -1]
    assert again.outcomes.totals().top1 == 1


@pytest.mark.parametrize(
    "content", [b"", b"image,label\nx,1\n", b"image,label,predicted,rank,top5,loss\nx,y,1,0,1,1\n"]
)
def test_what_is_no_table_of_predictions_is_refused(tmp_path, content):
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(ModelError, match=r"p\.csv"):
        Predictions.load(tmp_path / "p.csv")


def test_two_forms_compared():
    first = predictions("abcdef", [0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 0, 5])
    second = predictions("fedcba", [5, 4, 3, 2, 1, 0], [5, 1, 0, 2, 0, 1])
    agreement = compare_predictions(first, second)
    assert (agreement.n, agreement.agree) == (6, 3)
    assert (agreement.both, agreement.only_first, agreement.only_second, agreement.neither) == (2, 2, 0, 2)
    assert agreement.flips == [("a", 0, 0, 1), ("b", 1, 1, 0), ("e", 4, 0, 1)]
    assert agreement.p_value == 0.5  # two of two by the toss of a coin, either way
    assert json.loads(agreement.to_json())["flips"][0] == {"image": "a", "label": 0, "first": 0, "second": 1}
    assert "agree on 3 of 6 images (50.00 %), 3 flips" in agreement.to_text("x", "y")
    with pytest.raises(ModelError, match="different images"):
        compare_predictions(first, predictions("abc", [0, 1, 2], [0, 1, 2]))
