"""What a net holds, what it costs, and what is wrong with it: a Caffe2 net, or a file that another runtime runs."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Size
from caffe2_mobile.api.nets import Source, open_file, read_net
from caffe2_mobile.api.options import require_positive
from caffe2_models import files
from caffe2_models.files import TEXT_SUFFIXES, write_net
from caffe2_models.inspection import find_idle, find_problems, task_of
from caffe2_models.model_files import ModelFile
from caffe2_models.net import Net
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.profiling import NetCost, cost
from caffe2_models.proto import caffe2_pb2

PathLike = str | os.PathLike[str]
Shapes = dict[str, tuple[int, ...]]
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Shapes of a net's inputs: input_dims, else img_size, pixels, and batch_size, images (default: the net's own)."""

    input_dims: Mapping[str, tuple[int, ...]] | None = None
    img_size: Size | None = None
    batch_size: int = 1

    def __post_init__(self) -> None:
        require_positive(self, "img_size", "batch_size")

    def shapes(self, net: Net | ModelFile) -> Shapes:
        """Raises ModelError where neither these options nor the net's files tell."""
        shapes = net.input_shapes(self.img_size, self.batch_size, self.input_dims)
        if isinstance(net, ModelFile):
            net.check_shapes(shapes)
        return shapes


@dataclass(frozen=True, kw_only=True)
class InspectOptions(InputOptions):
    """On inputs of which shapes to look at a net."""


@dataclass(frozen=True)
class InspectResult:
    """A net, seen on inputs of these shapes (none where it has no init net): what is wrong with it, and its cost.

    net is a ModelFile where a runtime of its own runs the file. notes are of what is odd but does no harm; task is what
    the net is for, where that shows. cost is None where there are problems, or no init net.
    """

    net: Net | ModelFile = field(repr=False)
    inputs: Shapes
    problems: list[str]
    notes: list[str]
    task: str | None
    preprocessing: Preprocessing | None
    cost: NetCost | None = field(repr=False)

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        net = self.net
        if isinstance(net, ModelFile):
            count, runtime = len(self.cost.operators) if self.cost is not None else 0, f", {net.form} for {net.backend}"
        else:
            count, runtime = len(net.operators), ""
        lines = [f"{net.name or 'net'}{runtime}: {count} operators"]
        lines += [f"input {name}: {'x'.join(map(str, shape))}" for name, shape in self.inputs.items()]
        lines.append(f"output {', '.join(net.outputs)}")
        if self.task is not None:
            lines.append(f"task: {self.task}")
        if self.preprocessing is not None:
            lines.append(f"preprocessing {self.preprocessing.to_json()}")
        if isinstance(net, ModelFile) and net.labels:
            lines.append(f"labels: {len(net.labels)} ({', '.join(net.labels[:3])} ...)")
        if self.cost is not None:
            lines += cost_lines(self.cost)
        elif isinstance(net, Net) and not net.init_operators:
            lines += graph_lines(net)
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, *(f"problem: {problem}" for problem in self.problems)])

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        found = {
            "name": self.net.name,
            "inputs": self.inputs,
            "outputs": list(self.net.outputs),
            "task": self.task,
            "problems": self.problems,
        }
        return found | (self.cost.to_dict() if self.cost is not None else {})

    def save(self, path: PathLike) -> None:
        """All of it, as JSON."""
        write_atomically(path, json.dumps(self.to_dict(), indent=1) + "\n")


def inspect(net: Source, options: InspectOptions | None = None) -> InspectResult:
    """Check a net (a Net, or what read_net reads, or a .tflite file) and count its work; nothing is run.

    A .tflite file, and an ONNX file that computes in bytes, is shown as it is. Raises ModelError for what is no net;
    what is wrong within it is in the result's problems.
    """
    options = options or InspectOptions()
    if (file := open_file(net)) is not None:
        return inspect_file(file, options)
    found = read_net(net)
    shapes = _shapes(found, options)
    problems = find_problems(found, shapes)
    is_whole = shapes.keys() >= set(found.inputs) and not problems
    return InspectResult(
        net=found,
        inputs=shapes,
        problems=problems,
        notes=find_idle(found),
        task=task_of(found, shapes if is_whole else None),
        preprocessing=get_preprocessing(found.predict),
        cost=cost(found, shapes) if is_whole else None,
    )


def _shapes(net: Net, options: InspectOptions) -> Shapes:
    """Of the inputs; none where they are not told for a graph without its init net, whose weights count as inputs."""
    try:
        return options.shapes(net)
    except ModelError:
        if net.init_operators or options.input_dims:
            raise
        return {}


def inspect_file(file: ModelFile, options: InspectOptions) -> InspectResult:
    """A file whose own runtime has taken it: nothing is wrong with it."""
    shapes = options.shapes(file)
    costs = file.cost(shapes)
    scores = next(iter(file.outputs.values()), ())[1:]
    classes = math.prod(dim or 0 for dim in scores)
    return InspectResult(
        net=file,
        inputs=shapes,
        problems=[],
        notes=[],
        task=f"classification ({classes} classes)"
        if file.probabilities and classes and len(file.outputs) == 1
        else None,
        preprocessing=file.preprocessing,
        cost=costs,
    )


def graph_lines(net: Net) -> list[str]:
    """A line for each operator: what it reads and writes."""
    rows = ((node.index, node.type, " ".join(node.inputs), " ".join(node.outputs)) for node in net.operators)
    return [f"{index:>4} {kind:22} {read} -> {written}" for index, kind, read, written in rows]


def cost_lines(costs: NetCost) -> list[str]:
    """A line for each operator, and the totals."""
    lines = ["", f"{'':>4} {'operator':22} {'writes':30} {'shape':18} {'quantization':>15} "
             f"{'parameters':>11} {'M MAdds':>8}"]  # fmt: skip
    for row in costs.operators:
        writes = " ".join(row.outputs)
        scale = "" if row.scale is None else f"{row.scale:.6g}, {row.zero_point}"
        counts = f"{row.parameters:>11,} {row.macs / 1e6:>8.2f}"
        lines.append(f"{row.index:>4} {row.type:22} {writes[:30]:30} {row.shape_text:18} {scale:>15} {counts}")
    weights, activations = costs.weight_bytes / MIB, costs.peak_bytes / MIB
    most = "" if costs.is_exact else "up to "
    lines += ["", f"{costs.parameters:,} parameters in {weights:.1f} MiB, {most}{costs.macs / 1e6:.1f} M multiply-adds"]
    return [*lines, f"activations of {most}{activations:.1f} MiB at a time"]


def convert_file(source: PathLike, target: PathLike) -> None:
    """Rewrite a net's file in the form that the target's name asks for, .pb or .pbtxt.

    Raises ModelError, and writes nothing, where the other form would not hold all that the file does.
    """
    net = files.read_net(source)
    if Path(target).suffix not in TEXT_SUFFIXES:
        write_net(target, net)
        return
    text = text_format.MessageToString(net)
    again = text_format.Parse(text, caffe2_pb2.NetDef())
    if again.SerializeToString(deterministic=True) != net.SerializeToString(deterministic=True):
        raise ModelError(f"{source}: holds fields unknown to Caffe2, which a text file cannot keep")
    write_atomically(target, text)
