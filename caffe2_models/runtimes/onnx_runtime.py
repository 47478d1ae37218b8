"""The onnxruntime runtime: the net lowered to ONNX for the shapes at hand, run by ONNX Runtime."""

import onnxruntime

from caffe2_models.errors import ModelError
from caffe2_models.lowering import lower_net
from caffe2_models.runtimes.session import Session, input_types, type_key
from caffe2_models.tensors import Int8Tensor


class OnnxRuntimeSession(Session):
    """float32 nets at ONNX Runtime's speed; int8 nets in QDQ form, only as an approximation."""

    backend = "onnxruntime"

    def __init__(self, net, threads=None, approximate=False):
        super().__init__(net, threads)
        if not approximate:
            near = sorted({node.type for node in net.operators if not node.operator.exact_in_onnx})
            if near:
                raise ModelError(
                    f"{net.name or 'net'}: {', '.join(near)} would be approximated by ONNX Runtime; "
                    "use another backend, or ask for the approximation"
                )
        self._sessions = {}

    def _run(self, feeds, outputs):
        key = (type_key(feeds), tuple(outputs))
        if key not in self._sessions:
            self._sessions[key] = self._prepare(feeds, outputs)
        session, names, types = self._sessions[key]
        arrays = {
            name: value.data if isinstance(value, Int8Tensor) else value for name, value in feeds.items()
        }
        results = session.run([names[blob] for blob in outputs], arrays)
        return {
            blob: Int8Tensor(array, types[blob].scale, types[blob].zero_point)
            if types[blob].is_quantized
            else array
            for blob, array in zip(outputs, results, strict=True)
        }

    def _prepare(self, feeds, outputs):
        types = input_types(feeds)
        model, names = lower_net(self.net, types, outputs)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
            options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return session, names, self.net.infer_types(types)
