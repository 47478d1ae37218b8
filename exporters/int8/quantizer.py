"""The pipeline: a Caffe2 float net and calibration images in, an int8 net out."""


from caffe2_models import Net
from exporters.int8.assembly import assemble
from exporters.int8.calibration import METHODS, Images, collect
from exporters.int8.forms import plan
from exporters.int8.preparation import prepare
from exporters.int8.scales import Scales
from exporters.int8.weights import round_to_nearest


def quantize(net: Net, images: Images, input_shapes, method="minmax", threads=None) -> Net:
    graph = prepare(net, input_shapes)
    choices = plan(graph)
    statistics = collect(graph, images, threads)
    ranges = {name: METHODS[method](statistics[name]) for name in graph.shapes if name in statistics}
    scales = Scales(graph, choices, ranges)
    weights = {
        layer.output: round_to_nearest(layer, scales[layer.inputs[0]].scale)
        for layer, chosen in zip(graph.layers, choices)
        if chosen and layer.is_weighted
    }
    scales.legalize({name: weight.quantization.scale for name, weight in weights.items()})
    biases = {layer.output: layer.bias for layer in graph.weighted}
    return assemble(graph, choices, scales, weights, biases)
