"""What stands behind caffe2.python: workspaces with their blobs and nets, run by the project's sessions."""
