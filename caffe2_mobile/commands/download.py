"""Download the official files: the Samsung S8's latency table, the FBNet and ChamNet nets.

They go into the cache directory ($CAFFE2_MOBILE_CACHE, default ~/.cache/caffe2-mobile), where `caffe2-mobile latency`
finds them, or into --dir. Each file is checked against its published SHA-256. Their licence is CC BY-NC 4.0.
"""

import argparse
from pathlib import Path

from caffe2_mobile.api.download import download
from caffe2_mobile.commands.program import ArgumentParser
from runtime_lut.downloads import BASE_URL, COLLECTIONS


def main(argv: list[str]) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", nargs="+", choices=COLLECTIONS)
    parser.add_argument("--dir", type=Path, help="where to put the files (default: the cache directory)")
    parser.add_argument("--base-url", default=BASE_URL, metavar="URL", help="a mirror of the repository's files")
    args = parser.parse_args(argv)
    for collection in args.collection:
        for path in download(collection, args.dir, args.base_url):
            print(path)
