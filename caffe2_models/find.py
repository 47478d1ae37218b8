"""A net from what a user calls it: a folder, a file, the prefix of two files, a published name."""

import fnmatch
import os
from pathlib import Path

from caffe2_common.downloads import cache_dir
from caffe2_common.errors import ModelError
from caffe2_models.files import PAIRS, find_pair
from caffe2_models.net import Net, load_net
from caffe2_models.published import NAMES, canonical_name, published_net

Place = str | os.PathLike[str]


def find_net(place: Place, init: Place | None = None, stand_in_weights: bool = False) -> Net:
    """The net at a place: a model folder, a predict file, the P of P.predict.pb and P.init.pb, or a published name.

    init: of a predict file, where it does not stand beside it under the usual name. A published name means the net
    that was downloaded. stand_in_weights: where that is not there, or a published graph lies in a folder without its
    weights, seeded ones stand in: of no use for what a net says, but for what it costs. Raises ModelError where there
    is no net.
    """
    path = Path(place)
    published = canonical_name(str(place))
    if path.is_dir():
        predict, found = find_pair(path)
        if init is None and found is None and published and stand_in_weights:
            return Net(load_net(predict).predict, published_net(published).init)
        return load_net(predict, init if init is not None else found)
    if not path.exists() and (prefixed := Path(f"{path}.predict.pb")).is_file():
        path = prefixed
    if path.is_file():
        return load_net(path, init if init is not None else init_beside(path))
    if published:
        downloaded = cache_dir() / f"{published.split('-')[0]}/models/{published}"
        if downloaded.is_dir():
            return load_net(downloaded)
        if stand_in_weights:
            return published_net(published)
        collection = published.partition("-")[0].lower()
        raise ModelError(f"{place}: its weights are not here yet; caffe2-mobile download {collection} fetches them")
    raise ModelError(not_found(place))


def is_net(place: Place) -> bool:
    """Whether find_net would look into a place of this name at all."""
    path = Path(place)
    return path.exists() or Path(f"{path}.predict.pb").is_file() or canonical_name(str(place)) is not None


def not_found(place: Place) -> str:
    """What is said of a place where there is no net."""
    return f"{place}: no folder or file of this name, nor a published net ({', '.join(NAMES)})"


def init_beside(predict: Path) -> Path | None:
    """The init file that goes with a predict file by its name, or None."""
    for predict_pattern, init_pattern in PAIRS:
        if fnmatch.fnmatch(predict.name, predict_pattern):
            prefix = predict.name.removesuffix(predict_pattern.lstrip("*")) if "*" in predict_pattern else ""
            init = predict.with_name(init_pattern.replace("*", prefix))
            if init.is_file():
                return init
    return None
