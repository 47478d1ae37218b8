"""What the operators of a file cost, counted as a Caffe2 net's are."""

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2_models.net import last_uses_of
from caffe2_models.profiling import NetCost, OperatorCost


@dataclass(frozen=True)
class Operator:
    """One of them: activations that it reads and writes, constants, multiply-adds, its first output."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...]
    macs: int
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


def count(
    name: str, operators: Sequence[Operator], sizes: dict[str, int], nbytes: dict[str, int], outputs: Sequence[str]
) -> NetCost:
    """sizes: numbers in each constant; nbytes: of constants and activations."""
    rows, pairs, read = [], [0], set()
    live: dict[str, int] = {}
    peak = 0
    dead_after = last_uses_of([(*operator.inputs, *operator.outputs) for operator in operators], outputs)
    for index, (operator, dead) in enumerate(zip(operators, dead_after, strict=True)):
        touched = {blob: nbytes.get(blob, 0) for blob in (*operator.inputs, *operator.outputs)}
        pairs.append(sum(touched.values()))
        live |= touched
        peak = max(peak, sum(live.values()))
        for blob in dead:
            live.pop(blob, None)
        fresh = [constant for constant in dict.fromkeys(operator.constants) if constant not in read]
        read.update(fresh)
        rows.append(
            OperatorCost(
                index=index,
                type=operator.kind,
                outputs=list(operator.outputs),
                shape=list(operator.shape),
                dtype=operator.dtype,
                scale=operator.scale,
                zero_point=operator.zero_point,
                macs=operator.macs,
                parameters=sum(sizes[constant] for constant in fresh),
                activation_bytes=pairs[-1],
            )
        )
    return NetCost(
        name=name,
        operators=rows,
        macs=sum(row.macs for row in rows),
        parameters=sum(row.parameters for row in rows),
        weight_bytes=sum(nbytes.get(constant, 0) for constant in read),
        largest_pair_bytes=max(pairs),
        peak_bytes=peak,
    )
