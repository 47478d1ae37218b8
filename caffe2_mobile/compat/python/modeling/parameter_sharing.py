"""caffe2.python.modeling.parameter_sharing: parameters of one name scope used in another."""

import contextlib
from collections.abc import Iterator

from caffe2_mobile.compat.python import scope

SEPARATOR = scope._NAMESCOPE_SEPARATOR


class ParameterSharingContext:
    """Which scopes stand for which, within the blocks that say so."""

    def __init__(self) -> None:
        self._contexts: list[dict[str, str]] = []

    def get_parameter_name(self, name: str) -> str:
        """The name with the prefix of the scope whose parameters are used."""
        return self._resolve(scope.CurrentNameScope()) + name

    def _resolve(self, candidate: str) -> str:
        """Replace the longest prefix that another scope stands for, until there is none."""
        overrides = {old: new for context in self._contexts for old, new in context.items()}
        prefixes = [old for old in overrides if candidate.startswith(old)]
        if not prefixes:
            return candidate
        longest = max(prefixes, key=len)
        if overrides[longest] == candidate:
            return candidate
        return self._resolve(overrides[longest]) + candidate.removeprefix(longest)

    def add_scope_overrides(self, shared_scopes: dict[str, str]) -> None:
        self._contexts.append(shared_scopes)

    def pop(self) -> None:
        assert self._contexts
        self._contexts.pop()


parameter_sharing_context = ParameterSharingContext()


@contextlib.contextmanager
def ParameterSharing(shared_scopes: dict[str, str]) -> Iterator[None]:
    """Within the block, parameters of scope `old` are those of `new`, for each old: new."""
    assert isinstance(shared_scopes, dict)
    current = scope.CurrentNameScope()
    overrides = {}
    for old, new in shared_scopes.items():
        assert not new.startswith(old), f"Illegal override for parameter sharing. {old} is prefix of {new}"
        overrides[_with_separator(current + old)] = _with_separator(current + new)
    parameter_sharing_context.add_scope_overrides(overrides)
    try:
        yield
    finally:
        parameter_sharing_context.pop()


def _with_separator(name: str) -> str:
    return name if not name or name.endswith(SEPARATOR) else name + SEPARATOR
