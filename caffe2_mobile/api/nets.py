"""Nets from what is no Caffe2 net yet: ONNX files, the zoo."""

from runtime_lut.models import Converters


def from_onnx(path):
    from exporters.onnx_files import load_onnx
    from exporters.onnx_to_caffe2 import convert

    return convert(load_onnx(path))


def from_zoo(name):
    from caffe2_common.preprocessing import Preprocessing
    from exporters.onnx_to_caffe2 import convert
    from exporters.torch_to_onnx import export
    from mobile_cv.model_zoo import create_model

    module = create_model(name)
    preprocessing = Preprocessing(**module.default_cfg)
    shape = (1, 3, preprocessing.size, preprocessing.size)
    return convert(export(module, shape, preprocessing=preprocessing, name=name))


def to_int8(net, shapes):
    import numpy as np

    from exporters.int8.quantizer import quantize
    from exporters.int8.recipe import find_recipe

    (shape,) = shapes.values()
    noise = np.random.default_rng(0).standard_normal(shape[1:], np.float32)
    return quantize(net, [noise], find_recipe("minmax"), shapes).net


CONVERTERS = Converters(from_onnx, from_zoo, to_int8)
