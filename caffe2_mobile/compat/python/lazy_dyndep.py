"""caffe2.python.lazy_dyndep: libraries of operators that Caffe2 loads when one of theirs is first asked for."""

from collections.abc import Callable

from caffe2_mobile.compat.python import dyndep

_libraries: set[str] = set()


def RegisterOpsLibrary(name: str) -> None:
    """Say what is not loaded, as dyndep does."""
    dyndep.InitOpsLibrary(name)
    _libraries.add(name)


def GetImportedOpsLibraries() -> set[str]:
    return _libraries


def SetErrorHandler(handler: Callable[[Exception], bool]) -> None:
    """No library is loaded, so that none fails."""
