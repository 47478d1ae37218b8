"""Modules of Caffe2's that are not here. Scripts import them at the top and may never use them."""

from types import ModuleType
from typing import Any

TRAINS = "it trains; scripts for inference run here"
READS = "it reads training data"
TESTS = "it is Caffe2's own test code"
RANKS = "nets of layers for ranking are not built here"
REWRITES = "it rewrites nets for a runtime that is not here"

# Module -> why it is not here.
REFUSED = {
    f"caffe2.python.{name}": reason
    for reason, names in {
        TRAINS: "checkpoint data_parallel_model dataset_utils experiment_util gradient_checker hsm_util muji "
        "normalizer normalizer_context optimizer optimizer_context parallel_workers regularizer regularizer_context "
        "modifier_context modeling.compute_histogram_for_blobs modeling.compute_norm_for_blobs "
        "modeling.compute_statistics_for_blobs modeling.get_entry_from_blobs modeling.gradient_clipping "
        "modeling.net_modifier timeout_guard task session pipeline context control control_ops_grad control_ops_util "
        "net_builder",
        READS: "data_workers dataio dataset cached_reader text_file_reader record_queue queue_util db_file_reader",
        RANKS: "layer_model_helper layer_model_instantiator layers schema",
        TESTS: "test_util hypothesis_test_util layer_test_util optimizer_test_util operator_test test mint "
        "device_checker benchmark_generator numa_benchmark",
        REWRITES: "memonger transformations nomnigraph nomnigraph_transformations fakefp16_transform_lib trt "
        "onnx.onnxifi ideep mkl convert fakelowp",
        "recurrent nets are not built here": "attention crf gru_cell lstm_benchmark recurrent rnn rnn_cell",
        "Caffe's own files are not read here": "caffe_translator",
        "Caffe2's server of models is gone; give the files' paths": "models.download",
        "its nets are built for training": "models.resnet models.shufflenet models.seq2seq convnet_benchmarks",
    }.items()
    for name in names.split()
}


def reason_of(module: str) -> str | None:
    """Why a module, or the package that it is in, is not here; None where nothing is said of it."""
    while module:
        if module in REFUSED:
            return REFUSED[module]
        module = module.rpartition(".")[0]
    return None


class RefusedModule(ModuleType):
    """Whatever is taken from it refuses, by name, when it is called or used as a base."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__} has no attribute {name}")
        module = self.__name__.replace("caffe2_mobile.compat", "caffe2")
        return Refused(f"{module}.{name}", reason_of(module) or "")


class Refused:
    """A function or class that is not here."""

    def __init__(self, name: str, reason: str):
        self._text = f"{name} is not in caffe2-mobile: {reason}"

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError(self._text)

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(self._text)
