"""A search of seconds, for the tests; run by torchrun it trains and prints what came out.

torchrun --nproc-per-node 2 search_cases.py [CHANGES_AS_JSON...]
"""

import dataclasses
import json
import sys

import torch

from mobile_cv.model_zoo.networks import build
from mobile_cv.search import (
    Data,
    LatencyTable,
    Processes,
    Search,
    SearchSettings,
    SearchSpace,
    Stage,
    TargetLoss,
    Training,
    TrainingSettings,
    get_space,
    open_data,
)
from mobile_cv.search.images import ArrayImages

NETWORK = get_space("fbnet", "digits").network
SPACE = SearchSpace(
    "tiny",
    (Stage(8, 1, 2), Stage(16, 2, 2, ("ir_k3_e1", "ir_k3_e2", "skip"))),
    NETWORK.replace(stem="cn_k3_s2_c8", head="cn_k1_c16"),
    ("ir_k3_e1", "ir_k5_e2", "ir_k3_e1_g2", "skip"),
)
TABLE = LatencyTable(
    "phone",
    torch.tensor([[0.21, 0.53, 0.14, 0.06], [0.19, 0.33, 0.05, 0], [0.18, 0.31, 0.01, 0]]).double(),
    0.1,
)
SETTINGS = SearchSettings(epochs=4, warmup_epochs=1, batch_size=16, theta_lr=0.1, temperature_decay=0.7)


def few_digits(count=100) -> Data:
    data = open_data("digits")
    part = ArrayImages(data.train.images[:count], data.train.labels[:count])
    return dataclasses.replace(data, train=part, test=part)


def main(changes: str) -> None:
    """Search and train, in double precision; print the epochs' records and theta as JSON."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    processes = Processes.start(cpu=True)
    data = few_digits()
    history, theta = [], []
    for change in json.loads(changes):
        settings = dataclasses.replace(SETTINGS, epochs=2, **change)
        search = Search(SPACE, TABLE, TargetLoss(0.3), data, settings, processes)
        search.run()
        history += search.history
        theta += search.choice.theta.tolist()
    torch.manual_seed(0)
    model = build(SPACE.architecture([1, 1, 0]))
    training = Training(model, data, TrainingSettings(epochs=2, batch_size=20, warmup_epochs=1), processes)
    training.run()
    if processes.is_first:
        print(json.dumps({"history": history + training.history, "theta": theta}))
    processes.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
