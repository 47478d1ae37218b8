"""The exact runtime: the same bytes as `reference`, through fused kernels in C++.

For each set of feeds' types the net becomes a plan: its operators as calls of kernels over shared memory, and
those that no kernel covers as calls of their own `compute`, in between.
"""

import threading

from caffe2_common.machine import cores
from caffe2_models import kernels
from caffe2_models.kernels.fusion import fuse
from caffe2_models.kernels.graph import Graph
from caffe2_models.kernels.plan import Plan
from caffe2_models.net import Net
from caffe2_models.runtimes.session import Session, input_types, type_key

MAX_PLANS = 8  # of a session, for feeds of different types


class ExactSession(Session):
    """Raises ModelError where the kernels were not built."""

    backend = "exact"

    def __init__(self, net: Net, threads: int | None = None):
        super().__init__(net, threads)
        self.instruction_set = kernels.chosen_instruction_set()
        self._pool = kernels.ThreadPool(threads or cores())
        self._plans: dict[tuple, Plan] = {}
        self._lock = threading.Lock()

    def _run(self, feeds, outputs):
        key = (type_key(feeds), tuple(outputs))
        with self._lock:
            if key not in self._plans:
                if len(self._plans) == MAX_PLANS:
                    self._plans.pop(next(iter(self._plans)))
                graph = Graph(self.net, input_types(feeds), outputs)
                fuse(graph)
                self._plans[key] = Plan(graph, self.instruction_set, self._pool)
            return self._plans[key].run(feeds)
