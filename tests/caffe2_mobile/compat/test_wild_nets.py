"""Whole nets by other hands through the workspace: what Caffe2 1.8.1 computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe2_mobile.compat.proto import caffe2_pb2
from caffe2_mobile.compat.python import workspace

NAMES = [
    *("lstm_two_layers", "mobile_exporter_bn", "mobile_exporter_prefixed", "pnet", "seg_sparse_bigdata"),
    *("style_animals", "style_mosaic_noiseless"),
]


def read(folder: Path, kind: str) -> Any:
    return caffe2_pb2.NetDef.FromString(next(folder.glob(f"*{kind}*.pb")).read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_net_computes_what_it_computed_in_caffe2(name, shared):
    folder = shared / "golden" / "wild_nets" / name
    expected = np.load(folder / "expected.npz")
    feeds = {key.removeprefix("in:"): expected[key] for key in expected.files if key.startswith("in:")}
    workspace.SwitchWorkspace(f"wild {name}", True)
    try:
        workspace.RunNetOnce(read(folder, "init"))
        predict = read(folder, "predict")
        predict.name = name
        for blob, value in feeds.items():
            workspace.FeedBlob(blob, value)
        workspace.CreateNet(predict)
        for _ in range(2):
            workspace.RunNet(name)
            for key in expected.files:
                if key.startswith("out:"):
                    check(workspace.FetchBlob(key.removeprefix("out:")), expected[key])
    finally:
        workspace.SwitchWorkspace("default")


def check(value: np.ndarray, expected: np.ndarray) -> None:
    assert (value.shape, value.dtype) == (expected.shape, expected.dtype)
    if expected.dtype == np.uint8:  # a byte at a point where the rounding of floats decides
        assert (np.abs(value.astype(int) - expected) <= 1).all() and (value != expected).mean() < 1e-3
    else:
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
