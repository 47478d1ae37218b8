"""All that one reaches as caffe2_mobile.X says what it is."""

import inspect
from collections.abc import Iterator

import pytest

import caffe2_mobile


def members(name: str) -> Iterator[tuple[str, object]]:
    """The function or class, and the class's own methods and properties."""
    found = getattr(caffe2_mobile, name)
    yield name, found
    for key, member in vars(found).items() if inspect.isclass(found) else ():
        function = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        if not key.startswith("_") and inspect.isfunction(function):
            yield f"{name}.{key}", function


@pytest.mark.parametrize("name", [name for name in caffe2_mobile.__all__ if not name.startswith("_")])
def test_has_a_docstring(name):
    found = dict(members(name))
    if inspect.isclass(found[name]):
        assert not (found[name].__doc__ or "").startswith(f"{name}("), "what dataclasses write where there is none"
    assert [key for key, member in found.items() if not member.__doc__] == []
