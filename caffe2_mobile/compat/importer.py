"""`caffe2` as another name of this package: an entry of sys.meta_path that hands out the very same modules."""

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from caffe2_mobile.compat.refused import RefusedModule, reason_of

ALIAS = "caffe2"
PACKAGE = "caffe2_mobile.compat"


def install(replace: bool = False) -> bool:
    """Make `import caffe2` give this package; whether it does now.

    A real Caffe2 that is installed or imported stays, with a line on stderr that says so, unless `replace` asks
    for this one in its place, which is said as well.
    """
    if any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        return True
    if (real := real_caffe2()) is not None:
        if not replace:
            print(f"caffe2: the one that is installed at {real} is used, not caffe2-mobile's", file=sys.stderr)
            return False
        print(f"caffe2: caffe2-mobile's is used in place of the one at {real}", file=sys.stderr)
    for name in [name for name in sys.modules if is_below(ALIAS, name)]:
        del sys.modules[name]
    sys.meta_path.insert(0, AliasFinder())
    return True


def real_caffe2() -> str | None:
    """Where a Caffe2 is that is not this package nor the distribution that only forwards here, if there is one."""
    try:
        spec = importlib.util.find_spec(ALIAS)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:  # a folder of headers has no origin
        return None
    if getattr(sys.modules.get(ALIAS), "__name__", "") == PACKAGE or is_forwarder(spec):
        return None
    return spec.origin


def is_forwarder(spec: ModuleSpec) -> bool:
    """Whether it is the distribution whose `caffe2` consists of one call of install."""
    source = spec.loader.get_source(ALIAS) if isinstance(spec.loader, importlib.abc.InspectLoader) else None
    return source is not None and PACKAGE in source


def is_below(package: str, name: str) -> bool:
    return name == package or name.startswith(f"{package}.")


class AliasFinder(importlib.abc.MetaPathFinder):
    """Finds caffe2.X where caffe2_mobile.compat.X is, and in both places the modules that refuse."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = PACKAGE + fullname.removeprefix(ALIAS) if is_below(ALIAS, fullname) else fullname
        if not is_below(PACKAGE, name):
            return None
        if reason_of(ALIAS + name.removeprefix(PACKAGE)) is not None and name == fullname:
            return ModuleSpec(fullname, RefusedLoader(), is_package=True)
        if name == fullname:
            return None
        found = importlib.util.find_spec(name)
        if found is None:
            return None
        loader = AliasLoader(name, found)
        return ModuleSpec(fullname, loader, is_package=found.submodule_search_locations is not None)


class AliasLoader(importlib.abc.InspectLoader):
    """Gives the module that it is an alias of, unchanged."""

    def __init__(self, name: str, spec: ModuleSpec):
        self.name, self.spec = name, spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return importlib.import_module(self.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import machinery put the alias's in its place

    def get_source(self, fullname: str) -> str | None:
        """For `python -m caffe2...`."""
        return (
            self.spec.loader.get_source(self.name)
            if isinstance(self.spec.loader, importlib.abc.InspectLoader)
            else None
        )


class RefusedLoader(importlib.abc.Loader):
    """A module of Caffe2's that trains or reads data: it can be imported, and says so where it is used."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return RefusedModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass
