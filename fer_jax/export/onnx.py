"""A classifier as an ONNX graph, with the preprocessing and the temperature in it.

N = images, K = classes, H, W = pixels, C = channels. Arrays of ONNX are [N, C, H, W]. The input is
u8[N, 48, 48], grey; the outputs are `logits` f32[N, K] and `probabilities` f32[N, K], calibrated.
"""

import json
from collections import Counter

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_jax.batch_norm import EPSILON
from fer_jax.data import SIDE
from fer_jax.models import BestCNN, LoboCNN, SimpleCNN

OPSET = 17  # of 2022; what runs on phones knows it
INPUT, OUTPUTS = "images", ("logits", "probabilities")


def build(classifier, *, half: bool) -> onnx.ModelProto:
    """The checked graph of a `fer_jax.weights.Classifier`.

    `half`: kernels but the first, which has few numbers and moves the logits most, are stored in 16
    bits, and widened when the model is loaded; every sum is of float32 all the same. A net that
    trained in bfloat16 is computed in float32.
    """
    net = Net(classifier.variables, half=half)
    x = net.op("Div", net.op("Cast", INPUT, to=TensorProto.FLOAT), net.constant(np.float32(255)))
    x = net.op("Unsqueeze", x, net.constant(np.array([1])))
    logits = LAYERS[type(classifier.model)](net, classifier.model, x)
    net.op("Identity", logits, output=OUTPUTS[0])
    temperature = net.constant(np.float32(classifier.temperature["none"]))
    net.op("Softmax", net.op("Div", logits, temperature), axis=1, output=OUTPUTS[1])
    return net.model(classifier.card)


def simple(net, model, x):
    """SimpleCNN, see fer_jax/models.py."""

    def after(x):
        return net.batch_norm(x) if model.batch_norm else x

    for _ in model.features:
        x = after(net.max_pool(net.op("Relu", net.conv(x))))
    x = after(net.op("Relu", net.dense(net.op("Flatten", x), pixels_of=model.features[-1])))
    return net.dense(x)


def lobo(net, model, x):
    """LoboCNN."""
    x = net.op("Relu", net.conv(x))
    x = net.max_pool(net.batch_norm(net.op("Relu", net.conv(x))))
    x = net.op("Relu", net.conv(x))
    x = net.max_pool(net.batch_norm(net.op("Relu", net.conv(x, padding=0))))
    x = net.op("Relu", net.dense(net.op("Flatten", x), pixels_of=256))
    return net.dense(x)


def best(net, model, x):
    """BestCNN."""
    x = standardize(net, x) if model.standardize else x
    channels = 1
    for block in model.features:
        for unit, features in enumerate(block):
            y = net.conv(x)
            if unit > 0 and channels == features:
                y = net.op("Add", y, x)
            last = unit == len(block) - 1 and block is not model.features[-1]
            y = net.max_pool(y) if last else y
            x, channels = net.op("Relu", net.batch_norm(y)), features
    return net.dense(net.op("Flatten", net.op("GlobalAveragePool", x)))


def standardize(net, x):
    """As `fer_jax.models.standardize`."""

    def mean(x):
        return net.op("ReduceMean", x, axes=[1, 2, 3])

    x = net.op("Sub", x, mean(x))
    deviation = net.op("Sqrt", mean(net.op("Mul", x, x)))
    return net.op("Div", x, net.op("Add", deviation, net.constant(np.float32(0.05))))


LAYERS = {SimpleCNN: simple, LoboCNN: lobo, BestCNN: best}


class Net:
    """The nodes so far. Layers are counted as flax counts them: Conv_0, Conv_1, BatchNorm_0 ..."""

    def __init__(self, variables, *, half):
        self._params, self._statistics = variables["params"], variables.get("batch_stats", {})
        self._half = half
        self._nodes, self._arrays, self._count = [], [], Counter()

    def op(self, kind, *inputs, output=None, **attributes) -> str:
        """Adds a node and returns the name of what it gives."""
        output = output or self._number(kind)
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, array, name=None) -> str:
        name = name or self._number("constant")
        self._arrays.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def conv(self, x, *, padding=1) -> str:
        """3x3. `padding`: pixels of zeros on each side."""
        name = self._number("Conv")
        kernel = np.transpose(self._params[name]["kernel"], (3, 2, 0, 1))
        inputs = [x, self._kernel(kernel, name)]
        if "bias" in self._params[name]:
            inputs.append(self.constant(self._params[name]["bias"], f"{name}.bias"))
        return self.op("Conv", *inputs, output=f"{name}.y", pads=[padding] * 4)

    def batch_norm(self, x) -> str:
        name = self._number("BatchNorm")
        arrays = {**self._params[name], **self._statistics[name]}
        inputs = [self.constant(arrays[a], f"{name}.{a}") for a in ("scale", "bias", "mean", "var")]
        return self.op("BatchNormalization", x, *inputs, output=f"{name}.y", epsilon=EPSILON)

    def dense(self, x, *, pixels_of=None) -> str:
        """`pixels_of`: how many channels the picture had that was flattened into x. The rows of
        the kernel are those of [H, W, C], and are put into the order of [C, H, W]."""
        name = self._number("Dense")
        kernel = np.asarray(self._params[name]["kernel"])
        if pixels_of:
            rows = kernel.reshape(-1, pixels_of, kernel.shape[1])
            kernel = rows.swapaxes(0, 1).reshape(kernel.shape)
        bias = self.constant(self._params[name]["bias"], f"{name}.bias")
        return self.op("Gemm", x, self._kernel(kernel, name), bias, output=f"{name}.y")

    def max_pool(self, x) -> str:
        """2x2; an odd last row or column is dropped."""
        return self.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def model(self, card) -> onnx.ModelProto:
        """The whole, checked. The metadata says what a program must know that runs it."""
        classes = len(card["classes"])
        picture = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", SIDE, SIDE])
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes])
            for name in OUTPUTS
        ]
        graph = helper.make_graph(self._nodes, "fer", [picture], outputs, self._arrays)
        versions = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=8)
        helper.set_model_props(model, metadata(card))
        onnx.checker.check_model(model, full_check=True)
        return model

    def _kernel(self, kernel, name) -> str:
        if not self._half or name == "Conv_0":
            return self.constant(kernel, f"{name}.kernel")
        stored = self.constant(kernel.astype(np.float16), f"{name}.kernel16")
        return self.op("Cast", stored, output=f"{name}.kernel", to=TensorProto.FLOAT)

    def _number(self, kind) -> str:
        self._count[kind] += 1
        return f"{kind}_{self._count[kind] - 1}"


def metadata(card) -> dict[str, str]:
    """What the files say of themselves, out of model.json."""
    return {
        "classes": json.dumps(card["classes"]),
        "input": "images: uint8[N, 48, 48], one grey face each, upright, from forehead to chin",
        "output": "logits, and probabilities at the temperature: float32[N, K], K as classes",
        "temperature": str(card["temperature"]["none"]),
        "trained_on": card["trained_on"]["name"],
        "weights_sha256": card["sha256"],
    }
