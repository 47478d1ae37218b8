#!/usr/bin/env python3
"""Measure the ImageNet accuracy of a Caffe2 net, fp32 or int8."""

from caffe2_mobile.commands import run

if __name__ == "__main__":
    run("validate_caffe2")
