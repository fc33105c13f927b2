"""Makes a model for the examples: `python make_model.py 2` writes one that doubles."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper


def multiplying_by(factor: float) -> onnx.ModelProto:
    """Returns a model that multiplies each number of a batch of pairs."""
    batch = [None, 2]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["rows", "factor"], ["answers"])],
        "multiply",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, batch)],
        [helper.make_tensor_value_info("answers", TensorProto.FLOAT, batch)],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


if __name__ == "__main__":
    directory = Path("model")
    directory.mkdir(exist_ok=True)
    onnx.save(multiplying_by(float(sys.argv[1])), directory / "model.onnx")
