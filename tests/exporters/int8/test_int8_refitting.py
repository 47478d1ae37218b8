"""Weights that are fitted to inputs that err."""

import numpy as np
import pytest

from exporters.int8.refitting import refit
from exporters.int8.sampling import apply_rows

RNG = np.random.default_rng(0)
SAMPLES = 2000


def error(rows, inputs, wanted) -> float:
    """Mean square, of what no bias can mend."""
    lacking = wanted - apply_rows(rows, inputs)
    return float(lacking.var(axis=0).mean())


@pytest.mark.parametrize(("groups", "size"), [(1, 12), (6, 9)])
def test_what_depends_on_the_inputs_is_mended_on_others_too(groups, size):
    """Inputs of which some are small beside their noise, as those that share a scale with larger ones."""
    rows = RNG.normal(size=(groups * 4, size)).astype(np.float32)
    spread = np.geomspace(0.05, 3, size)
    x = (RNG.normal(size=(groups, 2 * SAMPLES, size)) * spread).astype(np.float32)
    noisy = x + RNG.normal(0, 0.1, x.shape).astype(np.float32)
    wanted = apply_rows(rows, x)
    fitted, others = slice(None, SAMPLES), slice(SAMPLES, None)
    fold = np.arange(SAMPLES) % 2 == 0
    change = refit(noisy[:, fitted], wanted[fitted] - apply_rows(rows, noisy[:, fitted]), fold)
    before, after = (
        error(rows, noisy[:, others], wanted[others]),
        error(rows + change, noisy[:, others], wanted[others]),
    )
    assert after < 0.95 * before
    assert np.median((rows + change)[:, 0] / rows[:, 0]) < 0.6  # what is mostly noise counts less


def test_what_does_not_depend_on_the_inputs_changes_nothing():
    inputs = RNG.normal(size=(1, SAMPLES, 40)).astype(np.float32)
    assert not refit(inputs, RNG.normal(size=(SAMPLES, 30)).astype(np.float32), np.arange(SAMPLES) % 2 == 0).any()


@pytest.mark.parametrize(("samples", "fold"), [(60, np.arange(60) % 2 == 0), (200, np.ones(200, bool))])
def test_too_few_samples_or_a_single_image_change_nothing(samples, fold):
    inputs = RNG.normal(size=(1, samples, 40)).astype(np.float32)
    assert not refit(inputs, inputs[0, :, :7], fold).any()
