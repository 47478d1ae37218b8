"""What the name of a net may be: a folder, a file, a prefix, a published name; and whose weights it gets."""

import pytest

from caffe2_common.errors import ModelError
from caffe2_models.find import find_net, is_net
from caffe2_models.published import published_net

NAME = "FBNet-96/int8"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE2_MOBILE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def net():
    return published_net(NAME, seed=3)


def test_a_folder_a_file_and_a_prefix_are_one_net(net, tmp_path):
    net.save(tmp_path / "folder" / "mine")
    places = ("folder", "folder/mine", "folder/mine.predict.pb")
    assert all(is_net(tmp_path / place) for place in places)
    assert len({find_net(tmp_path / place).init.SerializeToString(deterministic=True) for place in places}) == 1
    (tmp_path / "folder" / "mine.init.pb").rename(tmp_path / "elsewhere.pb")
    found = find_net(tmp_path / "folder" / "mine", tmp_path / "elsewhere.pb")
    assert found.init == find_net(tmp_path / "folder", tmp_path / "elsewhere.pb").init
    assert not find_net(tmp_path / "folder").init_operators


def test_a_published_name_is_the_downloaded_net_and_only_on_demand_a_stand_in(net, cache):
    with pytest.raises(ModelError, match=r"FBNet-96/int8: its weights are not here yet; caffe2-mobile download fbnet"):
        find_net(NAME)
    assert find_net(NAME, stand_in_weights=True).init == published_net(NAME).init
    net.save(cache / "FBNet" / "models" / NAME / "mine")
    for stand_in in (False, True):
        assert find_net(NAME, stand_in_weights=stand_in).init == net.init


def test_a_published_graph_in_a_folder_gets_stand_ins_on_demand(net, tmp_path):
    folder = tmp_path / NAME
    net.save(folder / "mine")
    (folder / "mine.init.pb").unlink()
    assert not find_net(folder).init_operators
    assert find_net(folder, stand_in_weights=True).init == published_net(NAME).init


def test_a_name_that_means_nothing_lists_what_is_published(tmp_path):
    assert not is_net(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"nothing: no folder or file of this name, nor .*ChamNet-A/int8"):
        find_net(tmp_path / "nothing")
