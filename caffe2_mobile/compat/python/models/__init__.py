"""caffe2.python.models: where scripts look for models that they downloaded, and pass their paths by themselves."""
