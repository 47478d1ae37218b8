"""From one form of a network to another: torch -> ONNX -> Caffe2 -> int8, and back to ONNX."""
