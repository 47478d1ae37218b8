"""How near an int8 net answers to the quantized model that it came from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from caffe2_models import Net
from exporters.verification import Sample, run_net

LEAST_SNR = 0.0  # dB: at less, what differs is more than what is right
SAME_STEPS_SNR = 20.0  # of two runtimes at the same steps, of which some values miss one


@dataclass(frozen=True)
class Agreement:
    """Of the outputs for some inputs. snr: signal over noise, in dB; top1: share of them whose largest one is the same.

    Bytes that round otherwise in one layer become other steps in the next, so that no two runtimes give the same.
    """

    what: str
    inputs: int
    snr: float
    top1: float
    least_snr: float = LEAST_SNR

    @property
    def holds(self) -> bool:
        return self.snr >= self.least_snr

    def __str__(self) -> str:
        verdict = "" if self.holds else ": NOT the same function"
        noise = "equal" if self.snr == math.inf else f"signal over noise {self.snr:.1f} dB"
        return f"{self.what}, {self.inputs} inputs: {noise}, same top-1 on {self.top1:.0%}{verdict}"


def compare_answers(
    what: str,
    net: Net,
    samples: Sequence[Sample],
    expected: Sequence[Mapping[str, np.ndarray]],
    backend: str = "auto",
    least_snr: float = LEAST_SNR,
) -> Agreement:
    """The net's outputs with those expected, by position."""
    signal = noise = 0.0
    same = total = 0
    for outputs, wanted in zip(run_net(net, samples, backend), expected, strict=True):
        for have, want in zip(outputs.values(), wanted.values(), strict=True):
            real = want.astype(np.float64)
            signal += float(np.square(real).sum())
            noise += float(np.square(real - have).sum())
        first, wanted_first = (np.asarray(next(iter(each.values()))) for each in (outputs, wanted))
        rows = [values.reshape(len(values), -1).argmax(1) for values in (first, wanted_first)]
        same, total = same + int((rows[0] == rows[1]).sum()), total + len(rows[0])
    snr = math.inf if noise == 0 else 10 * math.log10(signal / noise) if signal else -math.inf
    return Agreement(what, total, snr, same / max(total, 1), least_snr)
