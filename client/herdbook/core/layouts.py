"""What model servers expect to find in a directory."""

from __future__ import annotations

from enum import StrEnum


class Layout(StrEnum):
    """How a model server finds the version to serve."""

    CURRENT = "current"
    """A link `current` to the files of the version."""

    TF_SERVING = "tf-serving"
    """A link by the number of the version, as TensorFlow Serving's `model_base_path` has it."""

    TRITON = "triton"
    """A model of the Triton repository `repository`.

    That is `config.pbtxt`, and the other files below the number of the version.
    """
