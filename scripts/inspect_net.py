#!/usr/bin/env python3
"""Show a Caffe2 net, check it, or convert its files between binary and text."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("inspect")
