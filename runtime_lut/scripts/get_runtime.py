#!/usr/bin/env python3
"""The command get_runtime.py, where the reference tool has it."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

sys.path[0] = str(ROOT)  # in place of this folder
runpy.run_path(str(ROOT / "get_runtime.py"), run_name="__main__")
