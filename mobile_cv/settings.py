"""How to search and to train, and what is usual for which data. Apart from the rest, to be read without torch."""

from dataclasses import dataclass

# How far below the target a network may be: it shall use the time it is given.
TOLERANCE = 0.05


@dataclass(frozen=True)
class SearchSettings:
    """How to search; the defaults are the paper's for ImageNet.

    batch_size is that of all processes together. Weights are trained by SGD with a cosine schedule, the
    architecture parameters (theta) by Adam, after the first warmup_epochs. per_sample: a choice of its own
    for each image; hard: one candidate at a time, by the straight-through estimator.
    """

    epochs: int = 90
    warmup_epochs: int = 10
    batch_size: int = 192
    weight_share: float = 0.8
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    theta_lr: float = 0.01
    theta_weight_decay: float = 5e-4
    temperature: float = 5.0
    temperature_decay: float = 0.956
    per_sample: bool = False
    hard: bool = False
    seed: int = 0


# Settings by data; AnnaAraslanova/FBNet's for CIFAR-10.
SEARCH_PRESETS = {
    "digits": SearchSettings(
        epochs=50, warmup_epochs=5, batch_size=64, theta_lr=0.1, temperature_decay=0.95, per_sample=True
    ),
    "cifar10": SearchSettings(epochs=180, batch_size=1000, temperature_decay=0.9559974818331),
}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; the defaults are for ImageNet. batch_size is that of all processes together.

    ema_decay: of the exponential moving average of the weights per step; 0 for none.
    """

    epochs: int = 240
    warmup_epochs: int = 5
    batch_size: int = 256
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    ema_decay: float = 0.9999
    seed: int = 0


# Settings by data.
TRAINING_PRESETS = {
    "digits": TrainingSettings(
        epochs=20, warmup_epochs=2, batch_size=64, weight_decay=1e-4, label_smoothing=0.05, ema_decay=0.98
    ),
    "cifar10": TrainingSettings(epochs=200, batch_size=256, weight_decay=3e-4, label_smoothing=0.1, ema_decay=0.999),
}
