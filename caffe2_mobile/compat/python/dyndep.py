"""caffe2.python.dyndep: libraries of operators of one's own, which are built against Caffe2 and so cannot be loaded."""

import logging
import os

logger = logging.getLogger(__name__)


def InitOpsLibrary(name: str, trigger_lazy: bool = True) -> None:
    """Say what is not loaded: nets that need no operator of the library run."""
    if not os.path.exists(name):
        print(f"Ignoring {name} as it is not a valid file.")
        return
    logger.warning("%s is not loaded: it was built for Caffe2 itself. Its operators are missing", name)


def GetImportedOpsLibraries() -> set[str]:
    return set()
