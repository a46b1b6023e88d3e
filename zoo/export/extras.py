"""Libraries that only exports need, imported on use."""


def onnx():
    """The module `onnx`."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("an export needs onnx and onnxruntime: pip install 'keras-zoo[onnx]'") from error
    return onnx


def quantization():
    """The module `onnxruntime.quantization`."""
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise ImportError("quantize='int8' needs onnx and onnxruntime: pip install 'keras-zoo[onnx]'") from error
    return quantization


def openvino():
    """The module `openvino`."""
    try:
        import openvino
    except ImportError as error:
        raise ImportError("format='openvino' needs openvino: pip install 'keras-zoo[onnx,openvino]'") from error
    return openvino
