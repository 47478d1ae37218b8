"""A run spread over the machines of a Ray cluster, one shard to every `workers` cores.

The project and the images have to be at the same paths on every machine. Needs the extra `cluster`
(pip install caffe2-mobile[cluster]).
"""

import argparse
import copy
import socket
from collections.abc import Callable
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from validate.classifier import Classifier
from validate.predictions import Predictions, join_predictions
from validate.results import Result, merge

CONNECT_SECONDS = 5.0
PROJECT = Path(__file__).resolve().parent.parent


def validate_on_cluster(
    args: argparse.Namespace, open_classifier: Callable[[argparse.Namespace], Classifier]
) -> tuple[Result, Predictions]:
    """As validate_shard, on the cluster at args.ray: `auto` the one of this machine, `local` a new one on it.

    Raises ModelError where Ray is not installed, the cluster not reachable, or a shard fails.
    """
    try:
        import ray
    except ImportError:
        raise ModelError("--ray needs Ray: pip install caffe2-mobile[cluster]") from None
    if args.shard != (0, 1) or args.resume or args.state:
        raise ModelError("--ray makes its own shards: leave --shard, --resume and --state away")
    _require_reachable(args.ray)
    try:
        ray.init(address=args.ray, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ModelError(f"Ray at {args.ray}: {' '.join(str(error).split())[:160]}") from None
    try:
        count = max(int(ray.cluster_resources().get("CPU", 1)) // args.workers, 1)
        task = ray.remote(num_cpus=args.workers, max_retries=2)(_shard_task(str(PROJECT)))
        shards = [_shard_arguments(args, number, count) for number in range(count)]
        pending = [task.remote(ray.cloudpickle.dumps((shard, open_classifier))) for shard in shards]
        done = []
        with progress(total=count, unit="shard", desc="cluster") as bar:
            while pending:
                finished, pending = ray.wait(pending)
                done += ray.get(finished)
                bar.update(len(finished))
    except ray.exceptions.RayTaskError as error:
        raise ModelError(f"a shard failed: {' '.join(str(error.cause).split())}") from None
    except ray.exceptions.RayError as error:
        raise ModelError(f"Ray: {' '.join(str(error).split())[:160]}") from None
    finally:
        ray.shutdown()
    done.sort(key=lambda shard: shard[0].shard)
    results, predictions = zip(*done, strict=True)
    return merge(list(results)), join_predictions(predictions)


def _require_reachable(address: str) -> None:
    """Ray itself tries an address for minutes before it gives up."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ModelError(f"no Ray cluster answers at {address} ({error})") from None


def _shard_arguments(args: argparse.Namespace, number: int, count: int) -> argparse.Namespace:
    shard = copy.copy(args)
    shard.shard, shard.threads, shard.results_file = (number, count), args.workers, None
    return shard


def _shard_task(project: str) -> Callable[[bytes], tuple[Result, Predictions]]:
    """What a worker does with a pickled (args, open_classifier).

    An inner function travels by value, and unpickles the rest only after the project's packages come first:
    Ray puts the command's own folder on the path, where scripts/validate.py would hide the package.
    """

    def validate_pickled(content):  # no annotations: they too would be imported before the path is right
        import pickle
        import sys

        sys.path.insert(0, project)
        args, open_classifier = pickle.loads(content)
        from caffe2_mobile.commands.validation import validate_shard

        return validate_shard(args, open_classifier)

    return validate_pickled
