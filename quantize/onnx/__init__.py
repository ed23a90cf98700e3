"""Models for onnxruntime, by the builder of onnxruntime-genai."""
