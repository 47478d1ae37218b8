"""`import caffe2` gives caffe2_mobile.compat, and caffe2.python.X the modules below it."""

import sys

from caffe2_mobile import compat

compat.install()
sys.modules[__name__] = compat
