"""TensorFlow Lite files as ONNX models, quantized ones in QDQ form. Needs the extra `litert`, which has the schema."""
