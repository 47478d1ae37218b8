"""caffe2.proto: the protocol buffers that scripts use. They are the project's own messages."""
