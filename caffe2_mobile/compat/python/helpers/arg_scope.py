"""caffe2.python.helpers.arg_scope: arguments of layers within a block."""

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any


class _Scope(threading.local):
    def __init__(self) -> None:
        self.arguments: dict[str, dict[str, Any]] = {}


_scope = _Scope()


@contextlib.contextmanager
def arg_scope(single_helper_or_list: Callable | list[Callable], **kwargs: Any) -> Iterator[None]:
    """Within the block these layers get these arguments, where their callers give none."""
    helpers = single_helper_or_list if isinstance(single_helper_or_list, list) else [single_helper_or_list]
    assert all(callable(helper) for helper in helpers), "arg_scope is only supporting callable helper functions."
    outer = copy.deepcopy(_scope.arguments)
    for helper in helpers:
        _scope.arguments.setdefault(helper.__name__, {}).update(kwargs)
    try:
        yield
    finally:
        _scope.arguments = outer


def get_current_scope() -> dict[str, dict[str, Any]]:
    return _scope.arguments
