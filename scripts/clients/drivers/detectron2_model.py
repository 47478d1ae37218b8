"""detectron2's ProtobufModel without the rest of detectron2.

Arguments: the folder detectron2, the predict net, the init net, an .npz of feeds, the .npz to write outputs to.
"""

import sys
from types import ModuleType

import numpy as np
import torch

source, predict_path, init_path, feeds_path, out_path = sys.argv[1:]
for name, folder in (("detectron2", source), ("detectron2.export", f"{source}/export")):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [folder]
modeling = ModuleType("detectron2.export.caffe2_modeling")  # what makes nets out of detectron2's models
modeling.META_ARCH_CAFFE2_EXPORT_TYPE_MAP, modeling.convert_batched_inputs_to_c2_format = {}, None
sys.modules[modeling.__name__] = modeling

from caffe2.proto import caffe2_pb2
from detectron2.export.caffe2_inference import ProtobufModel
from detectron2.export.shared import construct_init_net_from_params, get_params_from_init_net

with open(predict_path, "rb") as predict_file, open(init_path, "rb") as init_file:
    predict_net = caffe2_pb2.NetDef.FromString(predict_file.read())
    init_net = caffe2_pb2.NetDef.FromString(init_file.read())
init_net.external_output[:] = [name for op in init_net.op for name in op.output]  # as detectron2's own have it
params, devices = get_params_from_init_net(init_net)
init_net = construct_init_net_from_params(params)
model = ProtobufModel(predict_net, init_net)
feeds = np.load(feeds_path)
for _ in range(2):  # the second run must not depend on what the first has left
    outputs = model(tuple(torch.from_numpy(feeds[blob]) for blob in model._input_blobs))
np.savez(out_path, **{name: value.numpy() for name, value in zip(predict_net.external_output, outputs, strict=True)})
