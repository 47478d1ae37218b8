"""caffe2.python.helpers: layers, as brew offers them."""
