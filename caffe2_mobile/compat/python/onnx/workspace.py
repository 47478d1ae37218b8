"""caffe2.python.onnx.workspace: a workspace as an object, with caffe2.python.workspace's functions as methods."""

import uuid
from typing import Any

from caffe2_mobile.compat.python import workspace


class Workspace:
    """ws.FeedBlob("x", array), ws.RunNetOnce(net) ...: in this workspace, whatever the current one is.

    In a `with` block it is the current one.
    """

    def __init__(self) -> None:
        self._name = str(uuid.uuid4())
        self._outer: list[str] = []

    def __enter__(self) -> "Workspace":
        self._outer.append(workspace.CurrentWorkspace())
        workspace.SwitchWorkspace(self._name, True)
        return self

    def __exit__(self, *_: Any) -> None:
        workspace.SwitchWorkspace(self._outer.pop(), True)

    def __getattr__(self, name: str) -> Any:
        function = getattr(workspace, name)
        if not callable(function):
            return function

        def within(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return within

    def __del__(self) -> None:
        workspace.WORKSPACES.remove(self._name)
