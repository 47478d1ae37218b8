"""What tests need from outside the repository, or why they skip."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is slow, which says nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# What tests may do without, and the extra that installs it.
OPTIONAL = {
    "torch": "torch",
    "onnxscript": "torch",
    "ai_edge_litert": "litert",
    "sklearn": "demo",
    "matplotlib": "plots",
    "ray": "cluster",
}

ROOT = Path(__file__).resolve().parent.parent


class Module(pytest.Module):
    """A file of tests, skipped where it imports an optional dependency that is not installed."""

    def collect(self):
        try:
            return super().collect()
        except self.CollectError as error:
            for name, extra in OPTIONAL.items():
                if f"No module named '{name}'" in str(error):
                    pytest.skip(f"{name} is not installed (the extra `{extra}`)", allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path, parent):
    return Module.from_parent(parent, path=module_path)


def pytest_runtest_setup(item):
    """Skips what is marked with `needs("torch")`, say, where that is not installed."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            if find_spec(name) is None:
                pytest.skip(f"{name} is not installed (the extra `{OPTIONAL[name]}`)")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of facts, golden values and real models beside the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside the repository")
    return folder


@pytest.fixture(scope="session")
def caffe2_python() -> str:
    """The interpreter that has the real Caffe2."""
    interpreter = os.environ.get("CAFFE2_PYTHON")
    if not interpreter:
        pytest.skip("CAFFE2_PYTHON names no interpreter with Caffe2 (scripts/setup_caffe2.sh makes one)")
    return interpreter
