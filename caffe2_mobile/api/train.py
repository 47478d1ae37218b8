"""Training a network of the zoo."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caffe2_common.extras import explaining_extras
from caffe2_common.files import require_writable, write_atomically
from caffe2_common.sizes import Size
from caffe2_mobile.api.options import require_positive
from caffe2_mobile.api.runs import RunOptions, epoch_log, forget, load_data, start, with_changes
from mobile_cv.settings import TRAINING_PRESETS, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """How to train.

    checkpoint: weights to begin with. img_size: height and width in pixels, N or (H, W) (default: the data's or the
    model's own). drop_rate: dropout (default: the model's own); drop_connect_rate: stochastic depth. settings: fields
    of TrainingSettings (epochs, lr ...) that shall differ from what is usual for the data.
    """

    checkpoint: str | os.PathLike[str] | None = None
    img_size: Size | None = None
    drop_rate: float | None = None
    drop_connect_rate: float = 0.0
    settings: Mapping[str, int | float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "img_size")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A trained network: top-1 (percent) and loss on the images held out, its definition and its weights.

    definition: F.json, a model's name for create_model, export and validate; weights: their checkpoint.
    """

    name: str
    top1: float
    loss: float
    images: int
    parameters: int
    definition: Path
    weights: Path

    def __str__(self) -> str:
        return (
            f"{self.name}: top-1 {self.top1:.2f} % of {self.images} images, loss {self.loss:.4f}, "
            f"{self.parameters / 1e6:.2f} M parameters\n{self.definition}, {self.weights}"
        )


@explaining_extras()
def train(model: str, options: TrainOptions | None = None) -> TrainResult:
    """Train a network and save it in options.out (default runs/train-MODEL-DATA), epoch by epoch.

    model: the name of a model of the zoo, or a definition F.json. Started by torchrun, all processes train one network,
    which the first one saves. Leaves model.json, model.pth (the averaged weights) and training.pt (the state after the
    last epoch). Raises ModelError for invalid models, data and settings, and where an extra is missing.
    """
    import torch

    from mobile_cv.model_zoo import create_model
    from mobile_cv.search import Training

    options = options or TrainOptions()
    out = Path(options.out or Path("runs") / f"train-{Path(model).stem}-{Path(options.data).name}")
    require_writable(out / "model.pth")
    processes = start(options)
    data = load_data(options, processes)
    preset = TRAINING_PRESETS.get(data.name, TrainingSettings())
    settings = with_changes(preset, options.settings, "training setting")
    torch.manual_seed(settings.seed)
    rules: dict[str, Any] = {"mean": data.mean, "std": data.std, "channel_order": "RGB"}
    if data.size:
        rules["crop_pct"] = 1.0
    network = create_model(
        model,
        checkpoint_path=Path(options.checkpoint) if options.checkpoint is not None else None,
        num_classes=len(data.classes),
        img_size=options.img_size or data.size,
        drop_rate=options.drop_rate,
        drop_connect_rate=options.drop_connect_rate,
        **rules,
    )
    architecture: Any = network.architecture
    state = out / "training.pt"
    forget(options, processes, state)
    training = Training(network, data, settings, processes, options.workers)
    training.run(state, epoch_log(options, processes, out, "training"))
    figures = training.evaluate()
    result = TrainResult(
        name=model,
        top1=figures["accuracy"],
        loss=figures["loss"],
        images=len(data.test),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        definition=out / "model.json",
        weights=out / "model.pth",
    )
    if processes.is_first:
        training.save_weights(result.weights)
        write_atomically(result.definition, architecture.to_json(name=model))
    processes.stop()
    return result
