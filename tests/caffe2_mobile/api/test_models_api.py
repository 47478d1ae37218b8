"""The zoo from Python: names, figures beside the published, as the command prints them."""

import pytest

from caffe2_mobile import ListOptions, ModelError, list_models
from caffe2_mobile.commands import list as list_command

pytestmark = pytest.mark.needs("torch")  # models are counted as they are built


def test_a_list_prints_and_saves_what_the_command_does(tmp_path, capsys):
    models = list_models(["ChamNet-F/*", "FBNet-96/int8"])
    assert models.names == ("ChamNet-F/fp32", "ChamNet-F/int8", "FBNet-96/int8")
    assert [row["madds_m"] for row in models.rows] == ["30.8", "30.8", "12.9"]
    forms = {"text": (str(models) + "\n", ".txt"), "csv": (models.to_csv(), ".csv")}
    forms["markdown"] = (models.to_markdown(), ".md")
    for form, (text, suffix) in forms.items():
        assert list_command.main(["ChamNet-F/*", "FBNet-96/int8", "--format", form]) == 0
        assert capsys.readouterr().out == text
        models.save(tmp_path / f"models{suffix}")
        assert (tmp_path / f"models{suffix}").read_text() == text
    with pytest.raises(ModelError, match=r"expected a name that ends in \.txt, \.csv, \.md"):
        models.save(tmp_path / "models.xlsx")


def test_options_choose():
    everything = list_models().names
    assert set(list_models(options=ListOptions(pretrained=True)).names) < set(everything)
    assert list_models("fbnet_a").names == ("fbnet_a",)
    with pytest.raises(ModelError, match="no model named 'efficientnet_b9'; did you mean"):
        list_models("efficientnet_b9")
