"""Cases for a machine that has only numpy: nets, their feeds and what `reference` made of them, in one file.

As a program: runs the cases of a file on the fastest kernels of the machine, and says which differ.
    python int8_cases.py FILE        exit status 1 where a byte differs
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from caffe2_models import Int8Tensor, Net, kernels
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Value

Case = tuple[Net, dict[str, Value], dict[str, Value], int]  # net, feeds, outputs, threads


def save(path: Path, cases: Iterable[Case]) -> int:
    """Write the cases; how many there are."""
    arrays: dict[str, np.ndarray] = {}
    count = 0
    for net, feeds, outputs, threads in cases:
        arrays[f"{count}/threads"] = np.array(threads)
        for part, message in (("predict", net.predict), ("init", net.init)):
            arrays[f"{count}/{part}"] = np.frombuffer(message.SerializeToString(), np.uint8)
        for kind, values in (("feed", feeds), ("output", outputs)):
            for name, value in values.items():
                is_quantized = isinstance(value, Int8Tensor)
                arrays[f"{count}/{kind}/data/{name}"] = value.data if is_quantized else value
                if is_quantized:
                    arrays[f"{count}/{kind}/parameters/{name}"] = np.array([value.scale, value.zero_point], np.float64)
        count += 1
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return count


def load(path: Path) -> Iterator[Case]:
    with np.load(path) as archive:
        cases: dict[int, list[str]] = {}
        for key in archive.files:
            cases.setdefault(int(key.split("/")[0]), []).append(key)
        for number, keys in cases.items():
            values: dict[str, dict[str, Value]] = {"feed": {}, "output": {}}
            for key in keys:
                _, kind, *rest = key.split("/", 3)
                if rest and rest[0] == "data":
                    parameters = f"{number}/{kind}/parameters/{rest[1]}"
                    data = archive[key]
                    if parameters in keys:
                        scale, zero_point = archive[parameters]
                        values[kind][rest[1]] = Int8Tensor(data, float(scale), int(zero_point))
                    else:
                        values[kind][rest[1]] = data
            messages = [
                caffe2_pb2.NetDef.FromString(archive[f"{number}/{part}"].tobytes()) for part in ("predict", "init")
            ]
            yield Net(*messages), values["feed"], values["output"], int(archive[f"{number}/threads"])


def differing(case: Case) -> list[str]:
    """The outputs that the exact runtime computes otherwise."""
    net, feeds, outputs, threads = case
    have = net.session("exact", threads=threads).run(feeds, list(outputs))
    return [name for name, value in outputs.items() if not is_same(have[name], value)]


def is_same(have: Value, want: Value) -> bool:
    if isinstance(want, Int8Tensor) and isinstance(have, Int8Tensor):
        if (np.float32(have.scale), have.zero_point) != (np.float32(want.scale), want.zero_point):
            return False
        have, want = have.data, want.data
    return have.dtype == want.dtype and np.array_equal(have, want)


def main(path: str) -> int:
    count = failed = 0
    for case in load(Path(path)):
        names = differing(case)
        if names:
            operators = ", ".join(node.type for node in case[0].operators)
            print(f"case {count} ({operators[:200]}) differs in {', '.join(names)}")
        count += 1
        failed += bool(names)
    print(f"{kernels.chosen_instruction_set()}: {count} cases, {failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
