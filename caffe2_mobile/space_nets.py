"""A search space as Caffe2 nets, and the latency of its candidates on a device.

Candidates are not priced one by one: for each k the network that takes candidate k in every layer goes
through the project's own converters, and the operators of that net are the layers' candidates, stem and
head. So the latency of a network of the space is, operator by operator, what `caffe2-mobile latency` finds.
"""

import re
from collections.abc import Callable

import torch

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from caffe2_mobile.api.nets import from_module, to_int8
from caffe2_models import Net
from mobile_cv.model_zoo.networks import build
from mobile_cv.search import LatencyTable, SearchSpace
from runtime_lut.estimate import Estimator
from runtime_lut.latency import NetLatency, net_latency
from runtime_lut.table import Table

FORMS = ("int8", "fp32")

# Blobs of a network of a space are called after its modules: stages.xif<layer>_0.
LAYER = re.compile(r"stages\.xif(\d+)_0(?!\d)")


def space_nets(space: SearchSpace, form: str = "int8") -> list[Net]:
    """Nets that together have every candidate of every layer: candidate 0 throughout, then 1, and so on."""
    nets = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for choices in progress(space.columns(), desc=f"candidates of {space.name}", unit="net"):
            net = from_module(build(space.architecture(choices)).eval())
            nets.append(to_int8(net, net.input_shapes()) if form == "int8" else net)
    return nets


def latency_table(
    space: SearchSpace,
    form: str = "int8",
    table: Table | None = None,
    estimator: Estimator | None = None,
    report: Callable[[NetLatency], None] | None = None,
) -> LatencyTable:
    """The candidates' latencies from a device's table; estimated, where it lacks them and there is an
    estimator.

    report is called with the operators of each of the space's nets. Raises ModelError where an operator's
    time is not known.
    """
    times = torch.zeros(len(space.layers), space.width, dtype=torch.float64)
    fixed = 0.0
    for choice, net in enumerate(space_nets(space, form)):
        latency = net_latency(net, None, table, estimator)
        if latency.missing:
            names = sorted({f"{layer.op_type} {layer.input_shapes}" for layer in latency.missing})
            raise ModelError(
                f"{latency.source}: lacks {len(names)} operators of space {space.name} ({names[0]} ...); "
                "estimate them (--estimate), or measure them with caffe2-mobile build-lut --space"
            )
        if report is not None:
            report(latency)
        parts = dict.fromkeys([None, *range(len(space.layers))], 0.0)
        for layer in latency.layers:
            found = LAYER.match(layer.output)
            parts[int(found[1]) if found else None] += (layer.time_us or 0.0) / 1000
        fixed = parts.pop(None)
        times[:, choice] = torch.tensor(list(parts.values()), dtype=torch.float64)
    return LatencyTable(latency.device, times.masked_fill(~space.available, 0.0), fixed)
