"""Losses and accuracy: what a net that is also tested or trained computes of its predictions and labels."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import canonical_axis, check_indices, check_rank, check_same_shape, flattened
from caffe2_models.operators.normalization import softmax
from caffe2_models.operators.registry import FLOAT32, INT32, Operator, operator
from caffe2_models.tensors import TensorType

SMALLEST = np.float32(1e-20)


def rows_of_scores(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, classes): a vector is one row."""
    if not shape:
        raise ModelError("scores of no dimensions")
    return flattened(shape, 1) if len(shape) > 1 else (1, shape[0])


def chosen(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each row's score of its label, as a column."""
    check_indices(labels, rows.shape[1])
    return np.take_along_axis(rows, labels.reshape(-1, 1).astype(np.int64), axis=1)


@operator("Accuracy")
@dataclass(frozen=True)
class Accuracy(Operator):
    """The share of rows whose label is among the `top_k` highest scores, of equal ones the first."""

    top_k: int = 1

    dtypes = (FLOAT32, INT32)

    def infer(self, x, labels):
        check_rank(x, 2, "scores")
        check_rank(labels, 1, "labels")
        if labels.size != x.shape[0]:
            raise ModelError(f"{labels.size} labels of {x.shape[0]} rows")
        return TensorType(())

    def compute(self, x, labels):
        score = chosen(x, labels)
        earlier = np.arange(x.shape[1]) < labels[:, None]
        better = ((x > score) | ((x == score) & earlier)).sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.float32((better < self.top_k).sum()) / np.float32(len(labels)))


@operator("LabelCrossEntropy")
@dataclass(frozen=True)
class LabelCrossEntropy(Operator):
    """-log of each row's score of its label."""

    dtypes = (FLOAT32, INT32)

    def infer(self, x, labels):
        rows, _ = rows_of_scores(x.shape)
        if labels.shape not in ((rows,), (rows, 1)):
            raise ModelError(f"labels {labels} of {rows} rows")
        return TensorType((rows,))

    def compute(self, x, labels):
        return -np.log(np.maximum(chosen(x.reshape(rows_of_scores(x.shape)), labels)[:, 0], SMALLEST))


@operator("CrossEntropy")
@dataclass(frozen=True)
class CrossEntropy(Operator):
    """-log of each row's scores, weighted with the probabilities of the classes."""

    def infer(self, x, labels):
        rows, classes = rows_of_scores(x.shape)
        if labels.shape != (rows, classes) and (labels.shape, classes) != ((rows,), 1):
            raise ModelError(f"probabilities {labels} of {rows} rows of {classes} classes")
        return TensorType((rows,))

    def compute(self, x, labels):
        if not ((labels >= 0) & (labels <= 1)).all():
            raise ModelError("probabilities outside [0, 1]")
        shape = rows_of_scores(x.shape)
        return -(labels.reshape(shape) * np.log(np.maximum(x.reshape(shape), SMALLEST))).sum(axis=1)

    def macs(self, x, labels):
        return x.size


def log_likelihood(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return logits * (targets - (logits >= 0)) - log_partition(logits)


def log_partition(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(-|x|)), NaN of negative infinity as in Caffe2."""
    return np.log(1 + np.exp(x - 2 * x * (x >= 0)))


@dataclass(frozen=True)
class MeanLoss(Operator):
    """Base: the mean of -`terms` over the last dimension."""

    def infer(self, logits, *others):
        check_same_shape(logits, *others)
        if 0 in logits.shape[-1:]:
            raise ModelError("the mean of no classes")
        return TensorType(logits.shape[:-1])

    def compute(self, logits, *others):
        terms = self.terms(logits, *others)
        return np.asarray(-terms.sum(axis=-1) / np.float32(logits.shape[-1] if logits.ndim else 1), np.float32)

    def macs(self, logits, *others):
        return logits.size * len(others)


@operator("SigmoidCrossEntropyWithLogits")
@dataclass(frozen=True)
class SigmoidCrossEntropyWithLogits(MeanLoss):
    """Cross entropy of sigmoid(logits); with log_D_trick and unjoined_lr_loss in two other forms."""

    log_D_trick: bool = False
    unjoined_lr_loss: bool = False

    def infer(self, logits, targets):
        if self.log_D_trick and self.unjoined_lr_loss:
            raise ModelError("log_D_trick and unjoined_lr_loss at once")
        return super().infer(logits, targets)

    def terms(self, logits, targets):
        if self.unjoined_lr_loss:
            positive = logits * (logits >= 0)
            return logits * targets + (targets - 1) * (positive + log_partition(logits))
        if self.log_D_trick:
            partition = logits * (logits >= 0) + log_partition(logits)
            return (2 * targets - 1) * (logits - partition)
        return log_likelihood(logits, targets)


@operator("WeightedSigmoidCrossEntropyWithLogits")
@dataclass(frozen=True)
class WeightedSigmoidCrossEntropyWithLogits(MeanLoss):
    def infer(self, logits, targets, weights):
        return super().infer(logits, targets, weights)

    def terms(self, logits, targets, weights):
        return log_likelihood(logits, targets) * weights


@operator("SoftmaxWithLoss")
@dataclass(frozen=True)
class SoftmaxWithLoss(Operator):
    """Softmax, and the mean of -log of the labels' share of it; labels are classes or, with label_prob, shares.

    The third blob weighs the rows.
    """

    axis: int = 1
    scale: float = 1.0
    label_prob: bool = False
    order: str = "NCHW"

    dtypes = (FLOAT32, FLOAT32 | INT32, FLOAT32)

    def infer(self, x, labels, weights=None):
        if self.order != "NCHW" or self.scale < 0:
            raise ModelError(f"order {self.order} and scale {self.scale}; NCHW and no negative scale are expected")
        axis = canonical_axis(self.axis, len(x.shape))
        rows, classes = flattened(x.shape, axis)
        if labels.dtype != (np.float32 if self.label_prob else np.int32):
            raise ModelError(f"labels of type {labels.dtype}")
        if not self.label_prob and len(labels.shape) == axis:
            fits = labels.size == rows
        else:
            fits = len(labels.shape) > axis and flattened(labels.shape, axis) == (
                rows,
                classes if self.label_prob else 1,
            )
        if not fits or (self.label_prob and len(labels.shape) < 2):
            raise ModelError(f"labels {labels} of {rows} rows of {classes} classes")
        if weights is not None and weights.size != rows:
            raise ModelError(f"{weights.size} weights of {rows} rows")
        return x.with_shape(x.shape), TensorType(())

    def compute(self, x, labels, weights=None):
        rows = x.reshape(flattened(x.shape, canonical_axis(self.axis, x.ndim)))
        shares = softmax(rows)
        if self.label_prob:
            labels = labels.reshape(rows.shape)
            if (labels < 0).any() or (abs(labels.sum(axis=1) - 1) >= 1e-5).any():
                raise ModelError("shares of the labels that are negative or do not add up to 1")
            losses = -(np.log(np.maximum(shares, SMALLEST)) * labels).sum(axis=1)
        else:
            shifted = rows - rows.max(axis=1, keepdims=True, initial=-np.inf)
            losses = np.log(np.maximum(np.exp(shifted).sum(axis=1), SMALLEST)) - chosen(shifted, labels)[:, 0]
        weights = np.ones(len(rows), np.float32) if weights is None else weights.ravel()
        total = weights.sum(dtype=np.float32)
        loss = np.float32((losses * weights).sum()) * np.float32(self.scale) / total if total else np.float32(0)
        return shares.reshape(x.shape), np.asarray(loss, np.float32)

    def macs(self, x, labels, weights=None):
        return x.size
