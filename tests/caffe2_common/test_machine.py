"""How many cores, also where the system has no affinity masks (macOS, Windows)."""

import os

import pytest

from caffe2_common.machine import core_numbers, cores


def test_cores_are_those_that_this_process_may_use():
    assert cores() == len(core_numbers()) >= 1


@pytest.mark.parametrize("count, expected", [(3, {0, 1, 2}), (None, {0})])
def test_without_affinity_masks_all_cores_count(monkeypatch, count, expected):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert core_numbers() == expected
    assert cores() == len(expected)
