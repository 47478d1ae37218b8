"""The exact runtime: the same bytes as `reference`, through fused kernels in C++.

For each set of feeds' types the net becomes a plan: its operators as calls of kernels over shared memory, and
those that no kernel covers as calls of their own `compute`, in between. Of a float32 net that is all but images of few
channels.
"""

import threading

from caffe2_common.machine import cores
from caffe2_models import kernels
from caffe2_models.kernels import rows
from caffe2_models.kernels.fusion import fuse
from caffe2_models.kernels.graph import Graph
from caffe2_models.kernels.plan import Plan
from caffe2_models.net import Net
from caffe2_models.operators.convolution import Conv
from caffe2_models.operators.node import Step
from caffe2_models.runtimes.session import input_types
from caffe2_models.runtimes.staged import StagedSession
from caffe2_models.tensors import Value


def in_plain_order(step: Step) -> bool:
    """Whether a file names no engine for this operator that rounds otherwise."""
    return not isinstance(step.node.operator, Conv) or step.node.operator.is_plain(*step.inputs[:2])


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

    def find_apart(self, steps, feeds, needed):
        """Float images of few channels go row by row, where the sums are then those of `reference`."""
        if self.net.is_quantized or not all(in_plain_order(step) for step in steps):
            return None
        return rows.find_part(steps, self.net.parameters, feeds, needed)

    def compile_apart(self, part, feeds, outputs):
        return rows.RowPlan(part, input_types(feeds), outputs, self.instruction_set, self._pool, fused=False)

    def compile(self, part, feeds, outputs):
        graph = Graph(part, input_types(feeds), outputs)
        fuse(graph)
        return Plan(graph, lambda arena_bytes: kernels.Program(self.instruction_set, self._pool, arena_bytes))
