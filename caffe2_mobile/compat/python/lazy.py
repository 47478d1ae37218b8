"""caffe2.python.lazy: modules that Caffe2 imported late."""

from collections.abc import Callable


def RegisterLazyImport(lazy: Callable | str) -> None:
    """Nothing is imported late here."""


def TriggerLazyImport() -> None:
    """Nothing waits to be imported."""
