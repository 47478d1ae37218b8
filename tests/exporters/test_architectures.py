"""Networks of many kinds go from PyTorch to Caffe2 and back (all of them: `make architecture-sweep`)."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"

# One of each kind, with what it is here for
FEW = {
    "shufflenet_v2": "chunks, and a transposition of five dimensions",
    "swin": "windows, shifts and a bias on attention",
    "linear_attention": "Einsum",
    "bert": "tokens",
    "tcn": "lines, padded on one side",
    "yolo_v5": "boxes decoded in the net",
    "deeplab_v3": "dilated convolutions, bilinear sizes",
    "siamese_tracker": "two inputs, two outputs",
    "c3d": "volumes",
}


@pytest.fixture(scope="module")
def sweep():
    sys.path.insert(0, str(SCRIPTS))
    try:
        import architecture_sweep
    finally:
        sys.path.remove(str(SCRIPTS))
    return architecture_sweep.sweep


@pytest.mark.parametrize("name", FEW)
def test_every_form_computes_what_pytorch_does(sweep, name):
    row = sweep(name, "torchscript")
    assert not row.wrong and not row.refusal, row
