"""Mobile CNNs from PyTorch to ONNX, Caffe2 and Caffe2 int8; Caffe2 nets read, run, and turned into what runs today."""
