"""caffe2.python.predictor_constants: names of the blobs and nets in a predictor's database."""

from caffe2_mobile.compat.proto import predictor_consts_pb2

predictor_constants = predictor_consts_pb2.PredictorConsts()
