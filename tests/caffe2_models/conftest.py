"""What tests of the net and its runtimes share."""

import pytest

from caffe2_models import kernels


@pytest.fixture(params=kernels.instruction_sets())
def instruction_set(request, monkeypatch):
    """The kernels of each instruction set of this machine, one after another."""
    monkeypatch.setenv(kernels.VARIABLE, request.param)
    return request.param
