"""caffe2.python for scripts of its day: the same names, over the project's own sessions."""
