"""When two forms of a network are the same: by each output's own scale, and no finer than float32 computes."""

import numpy as np
import pytest

from exporters.verification import FLOOR, TOLERANCE, compare

NAN, INF = np.nan, np.inf


def verdict(want, have, **others):
    expected, got = ({"y": np.asarray(y), **{name: both[i] for name, both in others.items()}}
                     for i, y in enumerate((want, have)))  # fmt: skip
    return compare("net", "random", expected, got)


def floats(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("want", "have", "holds"),
    [
        (floats(8e-4), floats(8e-4 + 1.4e-7), True),  # a detector that sees nothing
        (floats(8e-4), floats(8e-4 + 2e-6), False),
        (floats(300, 1), floats(300.02, 1), True),
        (floats(300, 1), floats(300.04, 1), False),
        (floats(1e30), floats(1.00005e30), True),
        (floats(1e30), floats(1.001e30), False),
        (floats(0, 0), floats(0, 9e-7), True),
        (floats(NAN, 1), floats(NAN, 1), True),
        (floats(NAN, 1), floats(0, 1), False),
        (floats(1, 1), floats(NAN, 1), False),
        (floats(INF, -INF, 1), floats(INF, -INF, 1), True),  # what a mask leaves out
        (floats(INF, 1), floats(-INF, 1), False),
        (floats(INF, 1), floats(3e38, 1), False),
        (floats(INF, 1), floats(INF, 1.01), False),
        (np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32), True),
        (np.zeros((0, 4), np.float32), np.zeros((1, 4), np.float32), False),
        (np.array([100_000, 7]), np.array([100_000, 7]), True),
        (np.array([100_000, 7]), np.array([100_001, 7]), False),
        (np.array([True, False]), np.array([True, True]), False),
    ],
)
def test_verdicts(want, have, holds):
    assert verdict(want, have).holds is holds


def test_each_output_has_its_own_scale():
    """Scores are not the same because boxes are larger."""
    assert not verdict(floats(0.1), floats(0.11), boxes=(floats(600), floats(600))).holds
    worst = verdict(floats(0.1), floats(0.11), boxes=(floats(600), floats(600.01)))
    assert worst.largest == pytest.approx(0.1)


def test_a_tie_in_a_map_of_classes_is_no_difference():
    classes = np.zeros((64, 64), np.int64)
    flipped = classes.copy()
    flipped[0, :4] = 3
    assert verdict(classes, flipped).holds
    flipped[1, 0] = 3
    assert not verdict(classes, flipped).holds


def test_the_limits_that_the_documentation_names():
    assert (TOLERANCE, FLOOR) == (1e-4, 1e-6)
