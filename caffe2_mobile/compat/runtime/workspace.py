"""A workspace: named blobs and the nets on them, and the workspaces of a process."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np

from caffe2_mobile.compat.runtime.blob import Blob
from caffe2_mobile.compat.runtime.errors import FailedOperator, enforce_failed
from caffe2_mobile.compat.runtime.network import Network, multiplies
from caffe2_models.operators import OPERATORS
from caffe2_models.proto import caffe2_pb2

DEFAULT = "default"
MAX_ONCE = 4  # nets kept that RunNetOnce ran, for loops that run them once again and again


class Workspace:
    """Blobs by name, and nets by name. All errors are RuntimeErrors, as Caffe2's are.

    functions: what Python operators call, by token: (function, whether it takes the workspace). parent: a workspace
    whose blobs this one sees as well.
    """

    def __init__(
        self,
        functions: dict[str, tuple[Callable, bool]],
        root_folder: str = ".",
        parent: "Workspace | None" = None,
    ):
        self.functions = functions
        self.root_folder = root_folder
        self.parent = parent
        self.blobs: dict[str, Blob] = {}
        self.nets: dict[str, Network] = {}
        self.random = np.random.default_rng()
        self.failed_position = -1  # of the operator that failed last, in its net
        self._once: OrderedDict[bytes, Network] = OrderedDict()

    # ------------------------------------------------------------------------------------------ blobs

    def create_blob(self, name: str) -> Blob:
        """The blob of this name, made where there is none."""
        blob = self.find_blob(name)
        if blob is None:
            blob = self.blobs[name] = Blob(name)
        return blob

    def find_blob(self, name: str) -> Blob | None:
        blob = self.blobs.get(name)
        return blob if blob is not None or self.parent is None else self.parent.find_blob(name)

    def blob(self, name: str) -> Blob:
        """Raises RuntimeError where there is none."""
        found = self.find_blob(name)
        if found is None:
            raise enforce_failed("pybind_state.cc:221", f"ws->HasBlob(name). Can't find blob: {name}")
        return found

    def has_blob(self, name: str) -> bool:
        return self.find_blob(name) is not None

    def blob_names(self) -> list[str]:
        names = set(self.blobs) | set(self.parent.blob_names() if self.parent else ())
        return sorted(names)

    def remove_blob(self, name: str) -> bool:
        """Nets that were created with the blob keep it."""
        return self.blobs.pop(name, None) is not None

    # ------------------------------------------------------------------------------------------- nets

    def create_net(self, net: caffe2_pb2.NetDef, overwrite: bool = False) -> Network:
        if not net.HasField("name"):
            raise enforce_failed("workspace.cc:222", "net_def->has_name(). Net definition should have a name.")
        if net.name in self.nets and not overwrite:
            raise enforce_failed(
                "workspace.cc:229",
                f'. I respectfully refuse to overwrite an existing net of the same name "{net.name}", '
                "unless you explicitly specify overwrite=true.",
            )
        self.nets.pop(net.name, None)
        self.nets[net.name] = self._make(net)
        return self.nets[net.name]

    def net(self, name: str) -> Network:
        """Raises RuntimeError where there is none."""
        if name not in self.nets:
            raise enforce_failed("pybind_state.cc:1234", f"gWorkspace->GetNet(name). Can't find net {name}")
        return self.nets[name]

    def run_net(self, name: str, iterations: int = 1) -> None:
        network = self.net(name)
        for _ in range(iterations):
            self._run(network)

    def run_net_once(self, net: caffe2_pb2.NetDef) -> None:
        """Run a net that is not kept by name. One that takes time is prepared once, however often it comes."""
        if not any(op.type in OPERATORS and multiplies(op.type) for op in net.op):
            self._run(self._make(net, once=True))
            return
        key = net.SerializeToString(deterministic=True)
        network = self._once.get(key)
        if network is None or not network.is_of(self):
            network = self._make(caffe2_pb2.NetDef.FromString(key), once=True)  # its own, whatever becomes of `net`
        self._once[key] = network
        self._once.move_to_end(key)
        if len(self._once) > MAX_ONCE:
            self._once.popitem(last=False)
        self._run(network)

    def delete_net(self, name: str) -> None:
        self.nets.pop(name, None)

    # -------------------------------------------------------------------------------------- operators

    def run_operator(self, op: caffe2_pb2.OperatorDef) -> None:
        self._run(self._make(caffe2_pb2.NetDef(op=[op]), once=True))

    def run_plan(self, plan: caffe2_pb2.PlanDef) -> None:
        """Run the plan's steps in order, each as often as it says, or until its stop blob is true."""
        for net in plan.network:
            if net.name not in self.nets:
                self.create_net(net)
        for step in plan.execution_step:
            self._run_step(step)

    def _run_step(self, step: caffe2_pb2.ExecutionStep) -> None:
        if step.HasField("should_stop_blob") and not step.HasField("num_iter"):
            iterations: Iterable[int] = itertools.count()
        else:
            iterations = range(step.num_iter if step.HasField("num_iter") else 1)
        for _ in iterations:
            for substep in step.substep:
                self._run_step(substep)
            for name in step.network:
                self.run_net(name)
            if step.HasField("should_stop_blob") and np.any(self.blob(step.should_stop_blob).content):
                break

    def _make(self, net: caffe2_pb2.NetDef, once: bool = False) -> Network:
        try:
            return Network(net, self, once)
        except FailedOperator as error:
            raise self._failure(error) from error.__cause__

    def _run(self, network: Network) -> None:
        try:
            network.run()
        except FailedOperator as error:
            raise self._failure(error) from error.__cause__

    def _failure(self, error: FailedOperator) -> RuntimeError:
        """The error as Caffe2 raises it; the operator's place is kept."""
        self.failed_position = error.position
        return RuntimeError(str(error))


class Workspaces:
    """The workspaces of a process, by name, and what they share: the functions that Python operators call."""

    def __init__(self) -> None:
        self.functions: dict[str, tuple[Callable, bool]] = {}
        self._named: dict[str, Workspace] = {DEFAULT: self.make()}
        self._current = DEFAULT
        self.current = self._named[DEFAULT]

    def make(self, root_folder: str = ".", parent: Workspace | None = None) -> Workspace:
        """A workspace without a name."""
        return Workspace(self.functions, root_folder, parent)

    @property
    def current_name(self) -> str:
        return self._current

    @property
    def names(self) -> list[str]:
        return sorted(self._named)

    def switch(self, name: str, create_if_missing: bool = False) -> None:
        if name not in self._named:
            if not create_if_missing:
                raise enforce_failed("pybind_state.cc:189", f"create_if_missing. There is no workspace {name}")
            self._named[name] = self.make()
        self._current = name
        self.current = self._named[name]

    def create_child(self, parent: str, child: str) -> None:
        """A workspace that sees the blobs of another."""
        if parent not in self._named:
            raise RuntimeError(f"There is no workspace {parent}")
        self._named[child] = self.make(parent=self._named[parent])
        self.current = self._named[self._current]  # which may be the child's name

    def remove(self, name: str) -> None:
        """Forget a workspace that is not the current one."""
        if name != self._current:
            self._named.pop(name, None)

    def reset(self, root_folder: str) -> None:
        """Empty the current workspace."""
        self.current = self._named[self._current] = self.make(root_folder)

    def register(self, function: Callable, pass_workspace: bool) -> str:
        """A token by which Python operators call this function."""
        token = f"python_function_{len(self.functions)}"
        self.functions[token] = (function, pass_workspace)
        return token


WORKSPACES = Workspaces()
