"""Loaders for live models: each makes one of the name of a file in the version.

```python
LiveModel("fraud/tc@champion", loader=loaders.onnx_session("model.onnx"))
```

The library that reads the file has to be installed; nothing of it is imported before. None of them
unpickles but the one whose name says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herdbook.errors import FileNotFound

if TYPE_CHECKING:
    import lightgbm
    import numpy as np
    import onnxruntime
    import xgboost

__all__ = [
    "lightgbm_booster",
    "onnx_session",
    "safetensors_arrays",
    "torch_weights",
    "unpickled_joblib",
    "xgboost_booster",
]


def onnx_session(
    file: str = "model.onnx",
    *,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    options: onnxruntime.SessionOptions | None = None,
) -> Callable[[Path], onnxruntime.InferenceSession]:
    """Makes a loader of ONNX models, which ONNX Runtime runs.

    Args:
        file: Its path in the version; what it refers to lies beside it.
        providers: What executes it, best first.
        options: Such as the number of threads.

    Raises:
        ModuleNotFoundError: `onnxruntime` is not installed.
    """
    runtime = import_module("onnxruntime")

    def load(directory: Path) -> onnxruntime.InferenceSession:
        path = str(_existing(directory, file))
        return runtime.InferenceSession(path, sess_options=options, providers=list(providers))

    return load


def safetensors_arrays(
    file: str = "model.safetensors",
) -> Callable[[Path], dict[str, np.ndarray[Any, Any]]]:
    """Makes a loader of safetensors files, as NumPy arrays by name.

    Raises:
        ModuleNotFoundError: `safetensors` or `numpy` is not installed.
    """
    reader = import_module("safetensors.numpy")
    return lambda directory: reader.load_file(_existing(directory, file))


def xgboost_booster(file: str = "model.ubj") -> Callable[[Path], xgboost.Booster]:
    """Makes a loader of what XGBoost's `save_model` wrote, as UBJSON or JSON.

    Raises:
        ModuleNotFoundError: `xgboost` is not installed.
    """
    library = import_module("xgboost")
    return lambda directory: library.Booster(model_file=str(_existing(directory, file)))


def lightgbm_booster(file: str = "model.txt") -> Callable[[Path], lightgbm.Booster]:
    """Makes a loader of what LightGBM's `save_model` wrote.

    Raises:
        ModuleNotFoundError: `lightgbm` is not installed.
    """
    library = import_module("lightgbm")
    return lambda directory: library.Booster(model_file=str(_existing(directory, file)))


def torch_weights(file: str = "model.pt", *, map_location: Any = "cpu") -> Callable[[Path], Any]:
    """Makes a loader of tensors that `torch.save` wrote, such as a state dict.

    PyTorch reads them with `weights_only=True`, which runs no code that the file brings.

    Args:
        file: Its path in the version.
        map_location: The device that the tensors come to.

    Raises:
        ModuleNotFoundError: `torch` is not installed.
    """
    library = import_module("torch")
    return lambda directory: library.load(
        _existing(directory, file), map_location=map_location, weights_only=True
    )


def unpickled_joblib(file: str = "model.joblib") -> Callable[[Path], Any]:
    """Makes a loader of what `joblib.dump` wrote, such as scikit-learn's estimators.

    This unpickles: the file may run any code in this process. Use it only where you trust whoever
    may push versions.

    Raises:
        ModuleNotFoundError: `joblib` is not installed.
    """
    library = import_module("joblib")
    return lambda directory: library.load(_existing(directory, file))


def _existing(directory: Path, file: str) -> Path:
    """Returns where a file of the version is.

    Raises:
        FileNotFound: The version has none of that path.
    """
    path = directory / file
    if not path.is_file():
        there = sorted(
            each.relative_to(directory).as_posix()
            for each in directory.rglob("*")
            if each.is_file()
        )
        shown = ", ".join(there[:10]) + (" …" if len(there) > 10 else "")  # noqa: PLR2004
        raise FileNotFound(f"The version has no file {file!r}; it has {shown}.")
    return path
