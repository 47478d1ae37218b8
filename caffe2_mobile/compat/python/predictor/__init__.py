"""caffe2.python.predictor: models in the forms that predictors read."""
