"""A net from what a user calls it: a folder, a file, a published name; other forms through converters."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from caffe2_common.downloads import cache_dir
from caffe2_common.errors import ModelError
from caffe2_models import Net, load_net
from caffe2_models.files import PAIRS, find_pair
from caffe2_models.published import NAMES, canonical_name, published_net


@dataclass(frozen=True)
class Converters:
    """What makes Caffe2 nets of other things.

    An ONNX file; a model of the zoo by name (None where it has none); a float net and the shape of its one
    input into the int8 net with the operators that it would have (its ranges are those of noise).
    """

    from_onnx: Callable[[Path], Net]
    from_zoo: Callable[[str], Net]
    to_int8: Callable[[Net, Mapping[str, tuple[int, ...]]], Net]


def find_net(name: str, converters: Converters | None = None) -> Net:
    """The net that a name means: a local folder or file, else the downloaded model, else the published
    architecture.

    Then, where converters are given, a model of the zoo. Raises ModelError for a name that means nothing.
    """
    path = Path(name)
    published = canonical_name(name)
    if path.is_dir():
        predict, init = find_pair(path)
        # The official graphs are also passed on without their weights.
        return load_net(predict, init) if init or not published else _with_published_weights(predict, published)
    if path.suffix == ".onnx" and converters is not None:
        if not path.is_file():
            raise ModelError(f"{path}: no such file")
        return converters.from_onnx(path)
    if path.is_file() and path.suffix != ".json":  # a definition is the zoo's
        return load_net(path, init_beside(path))
    if published:
        downloaded = cache_dir() / f"{published.split('-')[0]}/models/{published}"
        return load_net(downloaded) if downloaded.is_dir() else published_net(published)
    try:
        if converters is not None:
            return converters.from_zoo(name)
        hint = ""
    except ModelError as error:
        hint = f"; the zoo says: {error}"
    raise ModelError(f"{name}: no folder or file of this name, nor a published net ({', '.join(NAMES)}){hint}")


def init_beside(predict: Path) -> Path | None:
    """The init file that goes with a predict file by its name, or None."""
    for predict_pattern, init_pattern in PAIRS:
        if fnmatch.fnmatch(predict.name, predict_pattern):
            prefix = predict.name.removesuffix(predict_pattern.lstrip("*")) if "*" in predict_pattern else ""
            init = predict.with_name(init_pattern.replace("*", prefix))
            if init.is_file():
                return init
    return None


def _with_published_weights(predict: Path, name: str) -> Net:
    return Net(load_net(predict).predict, published_net(name).init)
