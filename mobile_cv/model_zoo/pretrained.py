"""Weights: read from a file, or the published ones, downloaded once and checked."""

import hashlib
import json
import pickle
import re
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from caffe2_common.downloads import fetch, is_intact
from caffe2_common.errors import ModelError

# name -> {"url", "sha256"}: sha256 is as much of the file's as is known, the first digits, or "".
WEIGHTS: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("weights.json").read_text(encoding="utf-8"))


def load_pretrained(model: nn.Module, name: str, in_chans: int = 3, progress: bool | None = None) -> None:
    """Load the published weights of a name into its model; downloads them unless they are in the cache.

    A classifier of another number of classes is left as it is. Raises ModelError where there are no
    weights, they cannot be had, or they do not fit.
    """
    if name not in WEIGHTS:
        raise ModelError(f"{name}: no PyTorch weights were published; give your own by --checkpoint")
    if in_chans != 3:
        raise ModelError(f"{name}: the published weights are for 3 input channels, not {in_chans}")
    path = download(WEIGHTS[name]["url"], WEIGHTS[name]["sha256"], progress)
    state = read_state_dict(path)
    if model.architecture.num_classes != 1000:
        state = {key: value for key, value in state.items() if not key.startswith(CLASSIFIERS)}
        state |= {key: value for key, value in model.state_dict().items() if key.startswith(CLASSIFIERS)}
    fit(model, state, path)


def load_checkpoint(model: nn.Module, path: str | Path) -> None:
    """Load a file of weights into a model; raises ModelError where it is none or does not fit."""
    fit(model, read_state_dict(path), path)


CLASSIFIERS = ("classifier.", "head.conv.", "last_stages.fc.")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a .pth file, of whichever form: plain, or under model_ema, state_dict or model.

    No code in the file is run. Prefixes that wrappers add to the names are taken off.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"{path}: {reason}; give a readable file by --checkpoint") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: no file of weights ({reason}); give one by --checkpoint") from None
    for key in ("model_ema", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: holds no state dict; give a file of weights by --checkpoint")
    return {convert_key(key): value for key, value in state.items()}


# What wrappers and older code put into the names of a state dict, and what it is called here.
OLD_KEYS = (
    (re.compile(r"^(?:module\.|_orig_mod\.)+"), ""),  # DataParallel, torch.compile
)


def convert_key(key: str) -> str:
    """The name that the zoo's models have for an entry of a state dict."""
    for pattern, replacement in OLD_KEYS:
        key = pattern.sub(replacement, key)
    return key


def fit(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Load a state dict that must have exactly the model's names and shapes."""
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    extra = [key for key in state if key not in wanted]
    shapes = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    problems = [
        f"{len(keys)} {what} ({keys[0]})"
        for what, keys in (("missing", missing), ("unknown", extra), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise ModelError(
            f"{path}: not the weights of {getattr(model, 'name', 'this model')}: {', '.join(problems)}; "
            "give the matching --model and --checkpoint"
        )
    model.load_state_dict(state, strict=False)


def download(url: str, sha256: str = "", progress: bool | None = None) -> Path:
    """The file at a URL, in torch.hub's folder (TORCH_HOME), downloaded if it is not there.

    sha256: the digest's first digits, checked each time; progress: a bar, where stderr is a terminal, unless False.
    Raises ModelError.
    """
    name = Path(urlparse(url).path).name
    if not sha256:  # the names of such files (model.pth) are not unique
        name = f"{hashlib.sha256(url.encode()).hexdigest()}_{name}"
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    remedy = "get the file elsewhere and give it by --checkpoint"
    if not path.exists():
        fetch(url, path, f"sha256:{sha256}", remedy=remedy, bar=progress is not False)
    elif not is_intact(path, f"sha256:{sha256}"):
        raise ModelError(
            f"{path}: not the published file (sha256 does not begin with {sha256}); "
            "delete it, or give your own weights by --checkpoint"
        )
    return path
