"""RuntimeErrors in the words of Caffe2 1.8.1, which scripts show and match: where in its sources, what was wrong."""

from caffe2_models.proto import caffe2_pb2


def enforce_failed(place: str, text: str) -> RuntimeError:
    """What Caffe2 raises where a condition does not hold; `place` is FILE:LINE."""
    return RuntimeError(in_enforces_form(place, text))


def in_enforces_form(place: str, text: str) -> str:
    return f"[enforce fail at {place}] {text}"


class FailedOperator(RuntimeError):
    """An operator that could not be made or run; position is its place in the net."""

    def __init__(self, text: str, position: int):
        super().__init__(text)
        self.position = position


def failed_run(text: str, op: caffe2_pb2.OperatorDef, position: int) -> FailedOperator:
    """Of an operator that was made and could not run: the text, and the operator."""
    return FailedOperator(f"{text} (Error from operator: \n{short_text(op)})", position)


def short_text(op: caffe2_pb2.OperatorDef) -> str:
    """An operator in one line."""
    return " ".join(str(op).split())
