#!/usr/bin/env python3
"""Search a network for a latency on a device; train it, convert it, and say how good it is."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("search")
