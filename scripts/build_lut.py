#!/usr/bin/env python3
"""Make a latency table: measure the operators of nets here, or have them measured on a phone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("build_lut")
