#!/usr/bin/env python3
"""List the zoo: what each model costs, counted on the built model, beside what was published of it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("list")
