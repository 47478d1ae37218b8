"""Public scripts for Caffe2: where they are, how each is run, and what its results are held against."""
