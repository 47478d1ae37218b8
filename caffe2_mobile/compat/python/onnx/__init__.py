"""caffe2.python.onnx: models in ONNX to nets and back, by the project's own converters."""
