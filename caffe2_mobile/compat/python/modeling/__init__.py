"""caffe2.python.modeling: parameters of models."""
