"""A net as a graph, which needs no pydot in this form."""

import json
import os
import tempfile

from caffe2.python import core, net_drawer

net = core.Net("drawn")
net.Relu("x", "x")
net.Conv(["x", "w"], "y", kernel=1, name="first")
net.Sum(["y", "x"], "x")
path = os.path.join(tempfile.mkdtemp(), "graph.json")
net_drawer.GetGraphInJson(net, path)
with open(path) as f:
    graph = json.load(f)
for node in graph["nodes"]:
    print(sorted(node.items()))
for edge in graph["edges"]:
    print(sorted(edge.items()))
print(net_drawer.GetGraphPngSafe(lambda: None)[:8])
