"""The one registry of models: names, the architectures behind them, and create_model."""

import difflib
import fnmatch
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from caffe2_common.errors import ModelError
from caffe2_common.sizes import Size
from mobile_cv.model_zoo import pretrained as weights
from mobile_cv.model_zoo.architecture import Architecture
from mobile_cv.model_zoo.networks import build

MAX_PARAMETERS = 500_000_000  # of a network from a definition file; the largest of the zoo has 30 million

_models: dict[str, Architecture] = {}
_aliases: dict[str, str] = {}
_unpublished: dict[str, str] = {}


def register(models: Mapping[str, Architecture], aliases: Mapping[str, str] | None = None) -> None:
    """Add a family's table of models, and other names for some of them."""
    names = [*models, *(aliases or {})]
    for name in names:
        if name in _models or name in _aliases:
            raise ValueError(f"two models named {name}")
    _models.update(models)
    _aliases.update(aliases or {})


def register_unpublished(models: Mapping[str, str]) -> None:
    """Names that people will ask for though nobody published a definition, and what to say to them."""
    _unpublished.update(models)


def canonical_name(name: str) -> str:
    """The name under which a model stands in the tables; that of a .json definition is its own.

    Raises ModelError for a name that is none, and a definition that cannot be built.
    """
    if name.endswith(".json"):
        _check_buildable(name, Architecture.from_json(name), in_chans=3)
        return name
    name = _aliases.get(name, name)
    if name in _unpublished:
        raise ModelError(f"{name}: {_unpublished[name]}")
    if name not in _models:
        near = difflib.get_close_matches(name, [*_models, *_aliases], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "caffe2-mobile list names them all"
        raise ModelError(f"no model named {name!r}; {hint}")
    return name


def get_architecture(name: str) -> Architecture:
    """The architecture of a name of the zoo, or of a JSON definition file."""
    if name.endswith(".json"):
        return Architecture.from_json(name)
    return _models[canonical_name(name)]


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Names that match a shell pattern, in natural order; with pretrained, those with published weights."""

    def natural(name: str) -> list:
        return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]

    names = [name for name in [*_models, *_aliases] if fnmatch.fnmatchcase(name, pattern)]
    if pretrained:
        names = [name for name in names if _aliases.get(name, name) in weights.WEIGHTS]
    return sorted(names, key=natural)


def create_model(
    name: str,
    pretrained: bool = False,
    checkpoint_path: str | Path | None = None,
    num_classes: int | None = None,
    in_chans: int = 3,
    img_size: Size | None = None,
    drop_rate: float | None = None,
    drop_connect_rate: float = 0.0,
    bn_eps: float | None = None,
    bn_momentum: float | None = None,
    progress: bool | None = None,
    **options,
) -> nn.Module:
    """A network of the zoo, float32, in training mode as torch makes modules (call .eval() to use it).

    name: one of list_models(), or the path of a .json definition. pretrained: with the published weights,
    downloaded once into torch.hub's folder (TORCH_HOME), with a progress bar unless progress is False.
    checkpoint_path: weights from a file instead. img_size and options such as mean, std, interpolation and
    crop_pct change the preprocessing that the model carries as model.default_cfg; other options are fields
    of Architecture. Raises ModelError for unknown names and options, weights not had or not fitting.
    """
    architecture = get_architecture(name)
    changes = {
        "num_classes": num_classes,
        "size": img_size,
        "drop_rate": drop_rate,
        "bn_eps": bn_eps,
        "bn_momentum": bn_momentum,
        **options,
    }
    architecture = architecture.replace(**{key: value for key, value in changes.items() if value is not None})
    if name.endswith(".json"):
        _check_buildable(name, architecture, in_chans)
    model = build(architecture, in_chans, drop_connect_rate)
    model.name = name if name.endswith(".json") else canonical_name(name)
    if checkpoint_path is not None:
        weights.load_checkpoint(model, checkpoint_path)
    elif pretrained:
        weights.load_pretrained(model, model.name, in_chans, progress)
    return model


def _check_buildable(path: str, architecture: Architecture, in_chans: int) -> None:
    """Refuse a definition that cannot be built, or only in more memory than any such network needs."""
    try:
        with torch.device("meta"):
            model = build(architecture, in_chans)
    except (ModelError, ValueError, RuntimeError, TypeError) as error:
        raise ModelError(f"{path}: {error}") from None
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > MAX_PARAMETERS:
        raise ModelError(f"{path}: {count} parameters, more than the {MAX_PARAMETERS} that are allowed")
