#!/usr/bin/env python3
"""Train a network of the zoo, or one of a definition F.json, as scripts/search.py writes it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("train")
