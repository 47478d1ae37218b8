#!/usr/bin/env python3
"""Fit the Samsung S8's prices from what was published; print the leave-one-net-out error."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.files import write_atomically
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models.published import publication
from runtime_lut import fit_published
from runtime_lut.estimate import DATA


def main(argv: list[str]) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="renew the data file")
    args = parser.parse_args(argv)
    content = fit_published.fit_all()
    for form, errors in content["leave_one_net_out"].items():
        for name, error in errors.items():
            print(f"{name:16} {publication(name).latency_ms:6.1f} ms  {100 * error:+6.1f} %")
        print(f"{form}: leave-one-net-out RMSPE {100 * content['net_spread'][form]:.1f} %")
    if args.write:
        write_atomically(
            DATA / f"{fit_published.DEVICE}-estimate.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        )


if __name__ == "__main__":
    run(main)
