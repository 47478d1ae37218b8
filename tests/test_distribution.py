"""What the wheel holds: names of its own only, which work where no checkout is."""

import configparser
import re
import subprocess
import sys

import pytest

TOP_LEVEL = {"caffe2_common", "caffe2_mobile", "caffe2_models"}


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    """The Python files as the wheel has them; the extension is left out."""
    library = tmp_path_factory.mktemp("wheel") / "library"
    egg = ["egg_info", "--egg-base", str(tmp_path_factory.mktemp("egg"))]
    command = [sys.executable, "setup.py", "-q", *egg, "build_py", "--build-lib", str(library)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


def run(built, *words):
    """A program with the built files in place of the checkout, in another folder."""
    command = [sys.executable, "-P", *words] if sys.version_info >= (3, 11) else [sys.executable, *words]
    return subprocess.run(command, cwd=built.parent, env={"PYTHONPATH": str(built)}, capture_output=True, text=True)


def test_no_name_is_anybody_elses(built):
    assert {path.name for path in built.iterdir()} == TOP_LEVEL
    assert all((built / name / "py.typed").exists() for name in TOP_LEVEL)


def test_a_verb_runs_without_a_checkout(built):
    done = run(built, "-m", "caffe2_mobile", "latency", "--model_path", "ChamNet-A/int8")
    assert done.returncode == 0, done.stderr
    assert "The network run-time latency is" in done.stdout


@pytest.mark.needs("torch", "ai_edge_litert")
def test_every_module_can_be_imported(built):
    program = (
        "import importlib, pkgutil, caffe2_mobile\n"
        "from caffe2_mobile.rooms import exporters\n"
        "for module in pkgutil.walk_packages(caffe2_mobile.__path__, 'caffe2_mobile.'):\n"
        "    if '.compat' not in module.name and not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print(exporters.__name__)\n"
    )
    done = run(built, "-c", program)
    assert (done.returncode, done.stdout) == (0, "caffe2_mobile.rooms.exporters\n"), done.stderr


def test_the_promised_minima_are_what_is_tried(root):
    """The extras aside that are too large, or belong to makers of the project only."""
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    wanted = "\n".join([config["options"]["install_requires"], extras["plots"], extras["demo"], extras["test"]])
    promised = dict(re.findall(r"^([\w-]+)>=([\d.]+)(?: ; python_version.*)?$", wanted, re.MULTILINE))
    tried = dict(re.findall(r"^([\w-]+)==([\d.]+)", (root / "constraints-minimum.txt").read_text(), re.MULTILINE))
    assert promised.keys() == tried.keys()
    for name, least in promised.items():
        assert re.fullmatch(re.escape(least) + r"(\.[01])*", tried[name]), (
            f"{name}: {least} promised, {tried[name]} tried"
        )
