"""Ground truth files and label maps in the forms that users have."""

import json

import numpy as np
import pytest

from caffe2_common.errors import ModelError
from validate.labels import find_ground_truth, label_folders, read_ground_truth, read_label_map, synsets

NAMES = ["ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000003.JPEG"]


def test_the_standard_order(shared):
    assert len(synsets()) == 1000
    assert list(synsets()) == sorted(synsets())
    assert list(synsets()) == (shared / "data" / "imagenet_synsets.txt").read_text().split()


def test_a_subset_of_synset_folders_keeps_its_labels():
    assert label_folders(["n15075141", "n01440764"]) == {"n15075141": 999, "n01440764": 0}


def test_other_folders_are_numbered():
    assert label_folders(["dog", "cat"]) == {"cat": 0, "dog": 1}
    assert label_folders(["7", "10", "2"]) == {"2": 2, "7": 7, "10": 10}


def test_a_stranger_among_synsets_is_named():
    with pytest.raises(ModelError, match="n99999999"):
        label_folders(["n01440764", "n99999999"])


@pytest.mark.parametrize(
    "text",
    [
        "n01751748\nn09193705\nn02105855\n",
        "ILSVRC2012_val_00000001.JPEG 65\nILSVRC2012_val_00000003.JPEG 230\n",
        "ImageId,PredictionString\nILSVRC2012_val_00000003,n02105855 1 2 3 4\n"
        "ILSVRC2012_val_00000001,n01751748 85 1 499 272 \n",
        "65\n0\n230\n",
    ],
    ids=["synset a line", "name and label", "Kaggle", "label a line"],
)
def test_ground_truth_in_every_form_gives_the_same_labels(tmp_path, text):
    (tmp_path / "truth.txt").write_text(text)
    assert read_ground_truth(tmp_path / "truth.txt", NAMES) == [65, 230]


@pytest.mark.parametrize("kit", ["meta.mat", "map_clsloc.txt"])
def test_official_numbers_go_through_the_development_kits_order(tmp_path, kit):
    ids = {490: "n01751748", 361: "n09193705", 171: "n02105855"}
    (tmp_path / "truth.txt").write_text("490\n361\n171\n")
    with pytest.raises(ModelError, match=r"meta\.mat"):
        read_ground_truth(tmp_path / "truth.txt", NAMES)
    if kit == "meta.mat":
        io = pytest.importorskip("scipy.io")
        record = np.zeros(3, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
        record[:] = list(ids.items())
        io.savemat(tmp_path / kit, {"synsets": record})
    else:
        (tmp_path / kit).write_text("".join(f"{synset} {number} name\n" for number, synset in ids.items()))
    assert read_ground_truth(tmp_path / "truth.txt", NAMES) == [65, 230]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("n01751748\n", "none for ILSVRC2012_val_00000003"),
        ("ILSVRC2012_val_00000001.JPEG 65\n", "nothing of ILSVRC2012_val_00000003"),
        ("ILSVRC2012_val_00000001.JPEG 65\nILSVRC2012_val_00000003.JPEG\n", "line 2"),
        ("sea_snake\nalp\nshih-tzu\n", "class alp"),
        ("n01751748\nn09193705\nn00000000\n", "n00000000"),
    ],
)
def test_bad_ground_truth_is_refused(tmp_path, text, message):
    (tmp_path / "truth.txt").write_text(text)
    with pytest.raises(ModelError, match=message):
        read_ground_truth(tmp_path / "truth.txt", NAMES)


def test_ground_truth_is_found_in_the_folder_or_beside_it(tmp_path):
    (tmp_path / "val").mkdir()
    assert find_ground_truth(tmp_path / "val") is None
    (tmp_path / "val.txt").write_text("x 1\n")
    assert find_ground_truth(tmp_path / "val") == tmp_path / "val.txt"
    (tmp_path / "val" / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n")
    assert find_ground_truth(tmp_path / "val").parent == tmp_path / "val"


def test_label_maps_in_every_form(tmp_path):
    (tmp_path / "a.txt").write_text("cat 3\ndog 1\n")
    (tmp_path / "b.txt").write_text("cat\ndog\n")
    (tmp_path / "c.json").write_text(json.dumps({"cat": 3, "dog": 1}))
    (tmp_path / "d.json").write_text(json.dumps(["cat", "dog"]))
    assert read_label_map(tmp_path / "a.txt") == read_label_map(tmp_path / "c.json") == {"cat": 3, "dog": 1}
    assert read_label_map(tmp_path / "b.txt") == read_label_map(tmp_path / "d.json") == {"cat": 0, "dog": 1}


@pytest.mark.parametrize("text", ["{", "{}", '{"cat": -1}', '{"cat": "x"}', "3"])
def test_bad_label_maps_are_refused(tmp_path, text):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(ModelError, match=r"map\.json"):
        read_label_map(tmp_path / "map.json")
