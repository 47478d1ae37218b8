"""A quantized net with its blobs, byte for byte."""

import numpy as np
from caffe2.python import core, workspace

random = np.random.RandomState(1)
init = core.Net("init")
weights = random.randint(0, 256, (8, 3, 3, 4)).astype(np.uint8)
init.Int8GivenTensorFill([], "w", shape=weights.shape, values=weights.tobytes(), Y_scale=0.02, Y_zero_point=120)
init.Int8GivenIntTensorFill(
    [], "b", shape=[8], values=random.randint(-500, 500, 8).tolist(), Y_scale=0.001, Y_zero_point=0
)
predict = core.Net("int8")
predict.NCHW2NHWC("data", "nhwc")
predict.Int8Quantize("nhwc", "q", Y_scale=0.05, Y_zero_point=128)
predict.Int8ConvRelu(["q", "w", "b"], "conv", kernel=3, pad=1, stride=2, order="NHWC", Y_scale=0.2, Y_zero_point=10)
predict.Int8AveragePool("conv", "pool", kernel=2, stride=2, order="NHWC", Y_scale=0.1, Y_zero_point=3)
predict.Int8Dequantize("pool", "real")
workspace.RunNetOnce(init)
workspace.FeedBlob("data", random.randn(2, 4, 8, 8).astype(np.float32))
workspace.CreateNet(predict)
for step in range(2):
    workspace.RunNet(predict)
    for name in ("q", "conv", "pool"):
        blob = workspace.FetchInt8Blob(name)
        print(
            name,
            blob.data.shape,
            blob.data.dtype,
            round(blob.scale, 6),
            blob.zero_point,
            blob.data.reshape(-1)[:40].tolist(),
        )
    print(np.round(workspace.FetchBlob("real"), 5).reshape(-1)[:20].tolist())
    workspace.FeedBlob("data", random.randn(1, 4, 6, 6).astype(np.float32))
print(np.round(workspace.FetchInt8BlobRealVal("pool"), 5).reshape(-1)[:10].tolist())
for call in (
    lambda: workspace.FetchBlob("q"),
    lambda: workspace.FetchInt8Blob("real"),
    lambda: workspace.FetchInt8Blob("none"),
):
    try:
        call()
    except Exception as error:
        print(type(error).__name__)
print(type(workspace.FetchInt8Blob("w")).__name__, workspace.FetchInt8Blob("b").data.dtype)
