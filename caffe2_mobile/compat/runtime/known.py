"""The operators that Caffe2 1.8.1 has, and why some of them do not run here."""

import functools
from collections.abc import Iterable
from pathlib import Path

from caffe2_models.operators import OPERATORS

# Caffe2's own words.
UNKNOWN = (
    "Verify that implementation for the corresponding device exist. It might also happen if the binary is not linked "
    "with the operator implementation code. If Python frontend is used it might happen if dyndep.InitOpsLibrary call "
    "is missing"
)

TRAINING = "it trains; nets for inference run here"

# What changes parameters, or measures how well training goes.
TRAINERS = {
    *("Adadelta", "Adagrad", "Adam", "FP16MomentumSGDUpdate", "FP32MomentumSGDUpdate", "Ftrl", "GFtrl", "Iter", "Lars"),
    *("LearningRate", "LearningRateAdaption", "MomentumSGD", "MomentumSGDUpdate", "RmsProp", "Storm", "Wngrad"),
    *("YellowFin", "AtomicIter", "AveragedLoss", "CrossEntropy", "LabelCrossEntropy", "SoftmaxWithLoss"),
    *("SigmoidCrossEntropyWithLogits", "SpatialSoftmaxWithLoss", "SquaredL2Distance", "PairWiseLoss"),
    *("Checkpoint", "Snapshot", "WeightScale", "ScaleBlobs", "ClipTensorByScaling", "LambdaRankNdcg"),
    *("NCCLAllGather", "NCCLAllreduce", "NCCLBroadcast", "NCCLReduce", "NCCLReduceScatter"),
}


@functools.cache
def known_operators() -> frozenset[str]:
    """Names of all operators that Caffe2 1.8.1 registers, and of those that run here."""
    listed = Path(__file__).with_name("operators.txt").read_text(encoding="utf-8").split()
    return frozenset(listed) | OPERATORS.keys()


def trains(operator: str) -> bool:
    sparse = operator.startswith(("Sparse", "RowWiseSparse")) and operator.endswith(tuple(TRAINERS))
    return operator in TRAINERS or operator.endswith("Gradient") or sparse


def refusal(operators: Iterable[str]) -> str:
    """Why these operators do not run here, in one text."""
    reasons = []
    for name in sorted(set(operators)):
        if trains(name):
            reasons.append(f"{name} is not run: {TRAINING}")
        elif name in known_operators():
            reasons.append(f"{name} is an operator of Caffe2's that is not in the table of operators here")
        else:
            reasons.append(f"Cannot create operator of type '{name}' on the device 'CPU'. {UNKNOWN}")
    return "; ".join(reasons)


def nearby(name: str, limit: int = 3) -> list[str]:
    """Names of operators that differ from this one by as few letters as any do, up to `limit`."""
    distances = {known: _distance(name, known, limit) for known in sorted(known_operators())}
    nearest = min(distances.values())
    return [known for known, distance in distances.items() if distance == nearest <= limit]


def _distance(a: str, b: str, limit: int) -> int:
    """Levenshtein's distance, or something above the limit."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]
