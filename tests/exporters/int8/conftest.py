"""Puts the runtimes' random nets and graphs within reach of the quantizer's tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "caffe2_models"))
