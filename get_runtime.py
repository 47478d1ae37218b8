#!/usr/bin/env python3
"""Latency of nets on a device: see --help and docs/latency.md."""

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("latency")
