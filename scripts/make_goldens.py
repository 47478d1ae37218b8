#!/usr/bin/env python3
"""Record what the real Caffe2 computes for a case of every operator, for tests where it is not at hand.

Writes tests/caffe2_models/goldens.npz: for each operator the net, what is fed, what came out. CAFFE2_PYTHON names the
interpreter that has Caffe2. Operators whose content is random have no golden values.
"""

import math
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "caffe2_models"))

import numpy as np
from goldens import FILE, encode
from operator_cases import CASES, Case

from caffe2_common.errors import ModelError
from caffe2_common.files import open_atomically
from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run

DRAWN = 6  # cases of each operator, of which the smallest is recorded


def small_case(kind: str) -> Case:
    cases = [CASES[kind](np.random.default_rng([seed, 2, *kind.encode()])) for seed in range(DRAWN)]
    return min(
        cases,
        key=lambda case: (
            len(case.net().init.SerializeToString()) + sum(math.prod(value.shape) for value in case.feeds.values())
        ),
    )


def main(argv: list[str]) -> None:
    ArgumentParser(description=__doc__).parse_args(argv)
    if not os.environ.get("CAFFE2_PYTHON"):
        raise ModelError("CAFFE2_PYTHON is not set (scripts/setup_caffe2.sh makes an interpreter with Caffe2)")
    arrays, refused = {}, []
    for kind in progress(sorted(CASES)):
        case = small_case(kind)
        if case.is_random:
            continue
        try:
            results = case.net().session("caffe2", threads=1).run(case.feeds, case.output_names)
        except ModelError:
            refused.append(kind)
        else:
            arrays |= encode(kind, case.net(), case.feeds, results)
    with open_atomically(FILE) as file:
        np.savez_compressed(file, **arrays)
    print(f"{FILE}: {FILE.stat().st_size / 1e6:.2f} MB; Caffe2 does not run {', '.join(refused) or 'none'}")


if __name__ == "__main__":
    run(main)
