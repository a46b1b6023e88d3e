"""An ONNX graph in the making: operations, constants and weights by name."""

import numpy as np

from zoo.export.extras import onnx

OPSET, IR_VERSION = 20, 9  # Gelu and LayerNormalization are single operations; read by onnxruntime from 1.17 on
_MOST_BYTES = 2_000_000_000  # of one protobuf message: 2 GB


class Graph:
    """Collects the nodes of one graph. Values are known by their names, str; anything else is made a constant."""

    def __init__(self):
        self.onnx = onnx()
        self._nodes, self._weights, self._count = [], {}, 0
        self._inputs, self._outputs = [], []

    def input(self, name, axes):
        """An int64 input with named axes. Returns its name."""
        self._inputs.append(self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.INT64, axes))
        return name

    def output(self, name, value, axes):
        """Give a float32 value out under a name."""
        self._nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, axes))

    def op(self, kind, *inputs, outputs=1, **attributes):
        """Add an operation. Returns the name of its value, a list of names where it has several."""
        inputs = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        names = [f"{kind.lower()}_{self._count + index}" for index in range(outputs)]
        self._count += outputs
        self._nodes.append(self.onnx.helper.make_node(kind, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, name, array):
        """A float32 weight, under this name once in the file however often it is asked for."""
        if name not in self._weights:
            # not ascontiguousarray, which makes [1] of a scalar: onnxruntime then fuses embeddings wrongly
            self._weights[name] = np.array(array, "float32", order="C")
        return name

    def constant(self, value):
        """A number or small array, int64 or float32."""
        array = np.asarray(value)
        array = array.astype("float32" if array.dtype.kind == "f" else "int64")
        name = f"const_{array.dtype}_{array.shape}_{array.tolist()}".replace(" ", "")
        self._weights.setdefault(name, array)
        return name

    def cast(self, value):
        """An integer or boolean value as float32."""
        return self.op("Cast", value, to=self.onnx.TensorProto.FLOAT)

    def axes(self, *axes):
        """Numbers of axes, as the operations take them."""
        return np.array(axes, "int64")

    def model(self, name, metadata):
        """The finished `onnx.ModelProto`, checked.

        Args:
            metadata: dict of str to str.

        Raises:
            ValueError: more than 2 GB, which no file of this kind holds.
        """
        if (size := sum(array.nbytes for array in self._weights.values())) > _MOST_BYTES:
            raise ValueError(f"the weights have {size / 1e9:.1f} GB; one ONNX file holds at most 2")
        helper = self.onnx.helper
        tensors = [self.onnx.numpy_helper.from_array(array, key) for key, array in self._weights.items()]
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, tensors)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="zoo")
        helper.set_model_props(model, metadata)
        self.onnx.checker.check_model(model)
        return model
