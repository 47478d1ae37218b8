"""Searching and training: exact resume, several processes as one, and that something is learned."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import search_cases
import torch
from search_cases import SETTINGS, SPACE, TABLE, few_digits

from caffe2_common.errors import ModelError
from mobile_cv.model_zoo import create_model
from mobile_cv.model_zoo.networks import build
from mobile_cv.search import Search, TargetLoss, Training, TrainingSettings, random_networks
from mobile_cv.search.run import cosine


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_search(settings=SETTINGS) -> Search:
    return Search(SPACE, TABLE, TargetLoss(0.6), few_digits(), settings)


def everything(run) -> dict[str, torch.Tensor]:
    """All tensors that a run keeps, by path."""
    found = {}

    def collect(prefix, value):
        if isinstance(value, torch.Tensor):
            found[prefix] = value
        elif isinstance(value, dict):
            for key, item in value.items():
                collect(f"{prefix}.{key}", item)
        elif isinstance(value, list):
            for key, item in enumerate(value):
                collect(f"{prefix}.{key}", item)

    for name, module in run.modules().items():
        collect(name, module.state_dict())
    return found


def assert_equal_runs(one, other):
    ours, theirs = everything(one), everything(other)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert one.history == other.history


class Interrupted(Exception):
    pass


def interrupt_after(epochs):
    def log(epoch, record):
        if epoch == epochs:
            raise Interrupted

    return log


@pytest.mark.parametrize("changes", [{}, {"per_sample": True}, {"hard": True}], ids=["batch", "per-sample", "hard"])
def test_a_resumed_search_is_bit_equal(tmp_path, changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    whole = make_search(settings)
    whole.run()
    with pytest.raises(Interrupted):
        make_search(settings).run(tmp_path / "search.pt", interrupt_after(2))
    torch.manual_seed(99)  # the state of the generators does not matter
    resumed = make_search(settings)
    resumed.run(tmp_path / "search.pt")
    assert_equal_runs(whole, resumed)
    assert whole.result(0.6).to_json() == resumed.result(0.6).to_json()


def make_training(**changes) -> Training:
    settings = TrainingSettings(**({"epochs": 3, "warmup_epochs": 1, "batch_size": 20, "ema_decay": 0.9} | changes))
    torch.manual_seed(0)
    return Training(build(SPACE.architecture([1, 1, 0]).replace(drop_rate=0.3)), few_digits(), settings)


def test_a_resumed_training_is_bit_equal_with_dropout(tmp_path):
    whole = make_training()
    whole.run()
    with pytest.raises(Interrupted):
        make_training().run(tmp_path / "t.pt", interrupt_after(1))
    resumed = make_training()
    resumed.run(tmp_path / "t.pt")
    assert_equal_runs(whole, resumed)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "t.pt"
    make_training(epochs=1).run(path)
    with pytest.raises(ModelError, match=r"another run \(lr, seed\).* --restart"):
        make_training(epochs=1, lr=0.2, seed=1).run(path)
    with pytest.raises(ModelError, match="another run"):
        make_search().run(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"t\.pt: cannot be read"):
        make_training(epochs=1).run(path)
    torch.save({"identity": "{}"}, path)
    with pytest.raises(ModelError, match="another run"):
        make_training(epochs=1).run(path)


def test_phases_touch_their_own_parameters():
    search = make_search(dataclasses.replace(SETTINGS, epochs=2))
    theta = search.choice.theta.detach().clone()
    search.history.append(search.train_epoch())
    assert torch.equal(search.choice.theta, theta)  # warm-up
    search.epoch = 1
    before = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    search.train_epoch()
    assert not torch.equal(search.choice.theta, theta)
    assert torch.equal(search.choice.theta[1:, 3], theta[1:, 3] - (theta - search.choice.theta)[1:, 3])
    after = search.supernet.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("conv.weight"))
    assert {len(part) for part in search.parts} == {80, 20}


def test_the_target_pulls_the_latency():
    """A tight target lowers the expected latency below what a loose one leaves."""
    ends = {}
    for target in (0.2, 100.0):
        settings = dataclasses.replace(SETTINGS, epochs=8, theta_lr=0.3, per_sample=True)
        search = Search(SPACE, TABLE, TargetLoss(target, 20.0), few_digits(), settings)
        search.run()
        ends[target] = search.history[-1]["latency_ms"]
    uniform = float(TABLE.expected(search.choice.available / search.choice.available.sum(-1, keepdim=True)))
    assert ends[0.2] < 0.6 * uniform < ends[100.0]


def test_results_keep_the_budget():
    search = make_search()
    low, high = TABLE.range(SPACE.available)
    assert (low, high) == pytest.approx((0.22, 1.27))
    for target in (0.6, 0.75, 0.9):
        for rng in (None, np.random.default_rng(0)):
            found = search.result(target, rng)
            assert 0.95 * target <= found.latency_ms <= target
            assert TABLE.of(found.choices) == found.latency_ms
    with torch.no_grad():
        search.choice.theta.copy_(torch.tensor([[0, 0, 1, 2], [3, 1, 0, 9], [0, 1, 0, 9]]))
    assert search.result().choices == (3, 0, 1)  # there are no candidates where the nines are
    with pytest.raises(ModelError, match=r"they take 0\.22 to 1\.27 ms"):
        search.result(5.0)


def test_random_networks_are_different_and_within():
    networks = random_networks(SPACE, TABLE, 0.5, 0.6, 20)
    assert len({tuple(n) for n in networks}) == len(networks) > 2
    assert all(0.5 <= TABLE.of(n) <= 0.6 for n in networks)
    assert networks == random_networks(SPACE, TABLE, 0.5, 0.6, 20)


def test_training_learns_and_its_weights_load(tmp_path):
    training = make_training(epochs=40)
    training.run()
    last = training.history[-1]
    assert last["test_accuracy"] > 80  # of images that it has seen
    training.save_weights(tmp_path / "w.pth")
    (tmp_path / "a.json").write_text(training.model.architecture.to_json())
    model = create_model(str(tmp_path / "a.json"), checkpoint_path=tmp_path / "w.pth")
    for name, value in model.state_dict().items():
        assert torch.equal(value, training.average.state_dict()[name])


def test_cosine_schedule():
    assert cosine(0) == 1 and cosine(1) == pytest.approx(0) and cosine(0.5) == pytest.approx(0.5)
    assert cosine(0.05, 0.1) == pytest.approx(0.5) and cosine(0.1, 0.1) == 1


def test_two_processes_train_to_the_same_loss_as_one(root):
    """A search by each kind of choice, and a training; equal but for double precision's rounding."""
    changes = json.dumps([{}, {"per_sample": True}, {"hard": True}])
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    results = []
    for launcher in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]):
        command = [sys.executable, *launcher, search_cases.__file__, changes]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        assert run.returncode == 0, run.stderr[-3000:]
        results.append(json.loads(run.stdout.splitlines()[-1]))
    one, two = results
    assert len(one["history"]) == len(two["history"]) == 3 * 2 + 2
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-7)
    np.testing.assert_allclose(two["theta"], one["theta"], rtol=1e-7)
