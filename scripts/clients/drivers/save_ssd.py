"""A checkpoint of pytorch-ssd with random weights, by its own code: MODULE FUNCTION CLASSES OUT.pth [OUT.onnx]

The classification layers' weights are enlarged, so that something is detected.
"""

import importlib
import sys

import torch

module, function, classes, path, *onnx_path = sys.argv[1:]
sys.path.insert(0, "")
torch.manual_seed(0)
net = getattr(importlib.import_module(f"vision.ssd.{module}"), function)(int(classes), is_test=True)
for parameter in net.classification_headers.parameters():
    parameter.data *= 200
net.save(path)
if onnx_path:
    image = torch.zeros(1, 3, 300, 300)
    torch.onnx.export(net.eval(), (image,), onnx_path[0], dynamo=False, output_names=["scores", "boxes"])
