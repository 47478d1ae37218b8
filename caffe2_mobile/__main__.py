"""python -m caffe2_mobile VERB ..."""

from caffe2_mobile.commands import console

if __name__ == "__main__":
    console()
