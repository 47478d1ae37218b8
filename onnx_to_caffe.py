#!/usr/bin/env python3
"""Convert an ONNX model to a Caffe2 net, float or int8, and check that it computes the same."""

from functools import partial

from caffe2_models.command import run
from exporters.convert_command import main
from validate.calibration import open_images


def latency(net):
    """(device, ms, low, high) of a net on the phone that the published latencies are of."""
    from runtime_lut.command import DEFAULT_DEVICE
    from runtime_lut.estimate import Estimator
    from runtime_lut.latency import net_latency

    estimate = net_latency(net, estimator=Estimator.shipped(DEFAULT_DEVICE))
    low, high = estimate.interval_us
    return estimate.device, estimate.total_us / 1000, low / 1000, high / 1000


if __name__ == "__main__":
    run(partial(main, open_images=open_images, latency=latency))
