#!/usr/bin/env python3
"""Time a Caffe2 net on a runtime, as a whole and operator by operator, with its work, parameters and memory."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("benchmark")
