"""Ready loaders, each on a small file that its library wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import joblib
import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from onnx import TensorProto, helper
from safetensors.numpy import save_file
from sklearn.linear_model import LinearRegression

from herdbook import loaders
from herdbook.errors import FileNotFound

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0], [8.0, 1.0]])
ANSWERS = np.array([3.0, 7.0, 12.0, 9.0])


def test_onnx_models_are_run(tmp_path: Path) -> None:
    doubled = helper.make_node("Add", ["x", "x"], ["y"])
    graph = helper.make_graph(
        [doubled],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    session = loaders.onnx_session()(tmp_path)
    (answer,) = session.run(None, {"x": np.array([1.5, 2.0], np.float32)})
    assert answer.tolist() == [3.0, 4.0]


def test_safetensors_are_read_as_arrays(tmp_path: Path) -> None:
    save_file({"weights": ROWS}, tmp_path / "model.safetensors")
    assert (loaders.safetensors_arrays()(tmp_path)["weights"] == ROWS).all()


def test_xgboost_boosters_are_read(tmp_path: Path) -> None:
    data = xgboost.DMatrix(ROWS, ANSWERS)
    trained = xgboost.train({"max_depth": 2}, data, num_boost_round=3)
    trained.save_model(tmp_path / "model.ubj")
    loaded = loaders.xgboost_booster()(tmp_path)
    assert (loaded.predict(data) == trained.predict(data)).all()


def test_lightgbm_boosters_are_read(tmp_path: Path) -> None:
    data = lightgbm.Dataset(np.tile(ROWS, (20, 1)), np.tile(ANSWERS, 20))
    trained = lightgbm.train({"verbosity": -1, "num_threads": 1}, data, num_boost_round=3)
    trained.save_model(tmp_path / "trees.txt")
    loaded = loaders.lightgbm_booster("trees.txt")(tmp_path)
    assert (loaded.predict(ROWS) == trained.predict(ROWS)).all()


def test_estimators_are_unpickled_by_the_loader_whose_name_says_so(tmp_path: Path) -> None:
    trained = LinearRegression().fit(ROWS, ANSWERS)
    joblib.dump(trained, tmp_path / "model.joblib")
    loaded = loaders.unpickled_joblib()(tmp_path)
    assert loaded.predict(ROWS) == pytest.approx(trained.predict(ROWS))


def test_pytorch_reads_weights_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: Path, *, map_location: str, weights_only: bool) -> object:
        return path.name, map_location, weights_only

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(load=load))
    (tmp_path / "model.pt").touch()
    assert loaders.torch_weights()(tmp_path) == ("model.pt", "cpu", True)


def test_a_file_that_the_version_lacks_is_named_with_those_it_has(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "other.onnx").touch()
    with pytest.raises(FileNotFound, match=r"no file 'model.onnx'; it has deep/other.onnx\."):
        loaders.onnx_session()(tmp_path)


def test_a_library_that_is_not_installed_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match="onnxruntime"):
        loaders.onnx_session()


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = "import sys; from herdbook import loaders; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "herdbook.loaders" in modules
    assert not {"numpy", "joblib", "onnxruntime", "xgboost", "lightgbm"} & set(modules)
