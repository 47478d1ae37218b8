"""Training in one process or, started by torchrun, in several that share each batch."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from caffe2_common.errors import ModelError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """This process among those of a run: number rank of count, computing on device."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @classmethod
    def start(cls, cpu: bool = False) -> "Processes":
        """Join the others, if torchrun started this process. Uses GPUs where there are any, unless cpu."""
        cuda = torch.cuda.is_available() and not cpu
        count = int(os.environ.get("WORLD_SIZE", 1))
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else CPU
        if cuda:
            torch.cuda.set_device(device)
        if count == 1:
            return cls(device=device)
        distributed.init_process_group("nccl" if cuda else "gloo")
        return cls(distributed.get_rank(), count, device)

    def stop(self) -> None:
        if self.count > 1:
            distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and saves."""
        return self.rank == 0

    def share(self, batch: list) -> list:
        """This process's part of a batch; raises ModelError where it cannot be shared evenly."""
        if len(batch) % self.count:
            raise ModelError(f"a batch of {len(batch)} cannot be shared by {self.count} processes")
        return batch[self.rank :: self.count]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes; differentiable."""
        return _Sum.apply(value) / self.count if self.count > 1 else value

    def sum(self, value: Tensor) -> Tensor:
        return _Sum.apply(value) if self.count > 1 else value

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module on this process's device, its BatchNorms over the batches of all processes."""
        if self.count > 1 and self.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        elif self.count > 1:
            _synchronize(module)
        return module.to(self.device, memory_format=torch.channels_last)

    def parallel(self, module: nn.Module, **options) -> nn.Module:
        """The module wrapped so that gradients are averaged over all processes."""
        return DistributedDataParallel(module, **options) if self.count > 1 else module

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; so is the gradient."""

    @staticmethod
    def forward(ctx, value):
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


class SyncBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are those of all processes' batches, which are of one size.

    torch's own has no form for the CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = distributed.get_world_size()
        mean = _Sum.apply(x.mean((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _Sum.apply((centred**2).mean((0, 2, 3))) / count
        with torch.no_grad():
            n = count * x.numel() // x.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def _synchronize(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            new = SyncBatchNorm(child.num_features, child.eps, child.momentum)
            new.load_state_dict(child.state_dict())
            setattr(module, name, new)
        else:
            _synchronize(child)
