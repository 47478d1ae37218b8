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
from caffe2_models.runtimes.session import input_types
from caffe2_models.runtimes.staged import StagedSession
from caffe2_models.tensors import Value


class ExactSession(StagedSession):
    """Raises ModelError where the kernels were not built."""

    backend = "exact"
    max_stages = 16

    def __init__(self, net: Net, threads: int | None = None):
        super().__init__(net, threads)
        self.instruction_set = kernels.chosen_instruction_set()
        self._pool = kernels.ThreadPool(threads or cores())
        self._lock = threading.Lock()

    def _run(self, feeds, outputs):
        with self._lock:
            return super()._run(feeds, outputs)

    def _bind_stage(self, compiled):
        def run(feeds: dict[str, Value]) -> dict[str, Value]:
            with self._lock:
                return compiled.run(feeds)

        return run

    def can_compile(self, step):
        return True

    def compile(self, part, feeds, outputs):
        graph = Graph(part, input_types(feeds), outputs)
        fuse(graph)
        return Plan(graph, lambda arena_bytes: kernels.Program(self.instruction_set, self._pool, arena_bytes))
