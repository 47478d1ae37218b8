"""What optimizing an ONNX file must leave as it is."""

import numpy as np
import onnx.parser
from onnx.reference import ReferenceEvaluator

from exporters.onnx_optimization import optimize


def test_zeros_around_an_image_are_not_made_a_poolings_own_pads():
    """MaxPool would not count them, and ONNX Runtime's Pad_Fusion makes them so."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        padded (float[1, 1, 4, 4] x) => (float[1, 1, 5, 5] y) <int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}> {
            around = Pad (x, pads)
            y = MaxPool <kernel_shape = [2, 2]> (around)
        }
    """)
    x = -np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    want, got = (ReferenceEvaluator(form).run(None, {"x": x})[0] for form in (model, optimize(model)))
    np.testing.assert_array_equal(got, want)
