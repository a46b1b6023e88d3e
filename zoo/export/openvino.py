"""An ONNX graph in OpenVINO's own format, `model.xml` and `model.bin`; in float32, rounded to bfloat16 where it runs."""

import pathlib
import tempfile

from zoo.export import extras
from zoo.store import Folder

NAMES = ("model.xml", "model.bin")


def files(graph):
    """File name -> bytes of a graph.

    Args:
        graph: `onnx.ModelProto`.
    """
    openvino = extras.openvino()
    with tempfile.TemporaryDirectory() as place:
        source = pathlib.Path(place, "model.onnx")
        extras.onnx().save_model(graph, str(source))
        model = openvino.Core().read_model(
            str(source)
        )  # `convert_model` sends telemetry from a fork, which JAX does not bear
        openvino.save_model(model, str(pathlib.Path(place, NAMES[0])), compress_to_fp16=False)
        folder = Folder(place)
        return {name: folder.memory_map(name).tobytes() for name in NAMES}
