"""State, chains of nets, parameters that change, shapes that are fed, and operators that fail in the middle."""

import numpy as np
from caffe2.python import core, workspace

W = workspace


def t(label, call):
    try:
        r = call()
    except Exception as error:
        print(label, "raises", type(error).__name__)
    else:
        print(label, np.round(r, 3).tolist() if isinstance(r, np.ndarray) else r)


# net that consumes its own output as state
n = core.Net("state")
n.Add(["s", "d"], "s")
W.FeedBlob("s", np.zeros(2, "f"))
W.FeedBlob("d", np.ones(2, "f"))
W.CreateNet(n)
for i in range(3):
    W.RunNet("state")
t("state", lambda: W.FetchBlob("s"))
W.FeedBlob("d", np.full(2, 5, "f"))
W.RunNet("state", 2)
t("state", lambda: W.FetchBlob("s"))
# two nets in chain
a = core.Net("a")
a.Sqr("x", "y")
b = core.Net("b")
b.Negative("y", "z")
W.FeedBlob("x", np.array([2.0], "f"))
W.CreateNet(a)
W.RunNet(a)
W.CreateNet(b)
W.RunNet(b)
t("z", lambda: W.FetchBlob("z"))
W.FeedBlob("x", np.array([3.0], "f"))
W.RunNet(a)
W.RunNet(b)
t("z", lambda: W.FetchBlob("z"))
W.FeedBlob("y", np.array([7.0], "f"))
W.RunNet(b)
t("z", lambda: W.FetchBlob("z"))
t("y", lambda: W.FetchBlob("y"))
W.RunNet(a)
t("y", lambda: W.FetchBlob("y"))
# weights overwritten by an operator
W.FeedBlob("w", np.ones((2, 3), "f"))
W.FeedBlob("bb", np.zeros(2, "f"))
W.FeedBlob("in", np.ones((1, 3), "f"))
f = core.Net("f")
f.FC(["in", "w", "bb"], "out")
W.CreateNet(f)
W.RunNet(f)
t("out", lambda: W.FetchBlob("out"))
W.RunOperatorOnce(core.CreateOperator("ConstantFill", [], ["w"], shape=[2, 3], value=2.0))
W.RunNet(f)
t("out", lambda: W.FetchBlob("out"))
W.RunOperatorOnce(core.CreateOperator("Sqr", ["w"], ["w"]))
W.RunNet(f)
t("out", lambda: W.FetchBlob("out"))
# reshape by a fed shape
r = core.Net("r")
r.Reshape(["im", "shape"], ["re", "old"])
r.Conv(["re", "k"], "c", kernel=1)
W.FeedBlob("im", np.arange(12, dtype="f"))
W.FeedBlob("shape", np.array([1, 3, 2, 2]))
W.FeedBlob("k", np.ones((1, 3, 1, 1), "f"))
W.CreateNet(r)
W.RunNet(r)
t("c", lambda: W.FetchBlob("c").shape)
W.FeedBlob("shape", np.array([1, 3, 1, 4]))
W.RunNet(r)
t("c", lambda: W.FetchBlob("c").shape)
W.RunNet(r)
t("old", lambda: W.FetchBlob("old"))
W.FeedBlob("im", np.arange(24, dtype="f"))
W.FeedBlob("shape", np.array([2, 3, 1, 4]))
W.RunNet(r)
t("c", lambda: W.FetchBlob("c").shape)
# failing in the middle keeps earlier blobs
m = core.Net("m")
m.Relu("p", "q")
m.FC(["q", "w", "bb"], "u")
W.FeedBlob("p", np.ones((1, 4), "f"))
W.CreateNet(m)
t("fail", lambda: W.RunNet(m))
t("q", lambda: W.FetchBlob("q"))
t("u", lambda: W.FetchBlob("u"))
W.FeedBlob("p", np.ones((1, 3), "f"))
t("ok", lambda: W.RunNet(m))
t("u", lambda: W.FetchBlob("u"))
t("allow", lambda: (W.FeedBlob("p", np.ones((1, 4), "f")), W.RunNet("m", 1, True)))
# dag type, workers
d = core.Net("d")
d.Relu("x", "rr")
d.Proto().type = "dag"
d.Proto().num_workers = 4
t("dag", lambda: W.RunNetOnce(d))
# external output in the middle
e = core.Net("e")
e.Relu("x", "m1")
e.Sqr("m1", "m2")
e.Proto().external_output.append("m1")
W.RunNetOnce(e)
t("m2", lambda: W.FetchBlob("m2"))
# string blobs
W.FeedBlob("cls", np.array(["cat", "dog"]))
t("cls", lambda: W.FetchBlob("cls").tolist())
t("uninit", lambda: (W.CreateBlob("nn"), W.RunOperatorOnce(core.CreateOperator("Relu", ["nn"], ["mm"]))))
t("batch", lambda: W.RunOperatorOnce(core.CreateOperator("MatMul", ["w", "w"], ["ww"], trans_b=1)))
t("ww", lambda: W.FetchBlob("ww"))
t(
    "dropout",
    lambda: (
        W.RunOperatorOnce(core.CreateOperator("Dropout", ["w"], ["dw", "mask"], is_test=1)),
        W.FetchBlob("dw").shape,
    ),
)
t(
    "concat",
    lambda: (
        W.RunOperatorOnce(core.CreateOperator("Concat", ["w", "w"], ["cc", "si"], axis=0)),
        W.FetchBlob("cc").shape,
        W.FetchBlob("si").tolist(),
    ),
)
t("empty batch", lambda: (W.FeedBlob("p", np.ones((0, 3), "f")), W.RunNet(m), W.FetchBlob("u").shape))
t(
    "int64 add",
    lambda: (
        W.FeedBlob("i", np.arange(3)),
        W.RunOperatorOnce(core.CreateOperator("Add", ["i", "i"], ["ii"])),
        W.FetchBlob("ii").tolist(),
    ),
)
t(
    "half",
    lambda: (
        W.FeedBlob("h", np.arange(3).astype("float16")),
        W.RunOperatorOnce(core.CreateOperator("HalfToFloat", ["h"], ["hf"])),
        W.FetchBlob("hf").tolist(),
    ),
)
