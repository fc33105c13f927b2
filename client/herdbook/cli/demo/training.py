"""Two regressors of different kinds on a real data set that scikit-learn brings along."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

MODEL_FILE = "model.joblib"
_SEED = 7


@dataclass(frozen=True, slots=True)
class Data:
    """Patients, split into those a model learns from and those it is measured on."""

    train_rows: Any
    train_targets: Any
    test_rows: Any
    test_targets: Any
    features: tuple[str, ...]

    digest: str
    """The digest of rows and targets."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted model and what was measured of it."""

    name: str
    estimator: Any
    directory: Path
    params: dict[str, object]
    rmse: float
    training_seconds: float
    size_bytes: int


def load_data() -> Data:
    """Loads patients with diabetes: ten measurements each, and the progression in a year."""
    loaded = load_diabetes()
    rows, targets = loaded.data, loaded.target
    split = train_test_split(rows, targets, test_size=0.25, random_state=_SEED)
    train_rows, test_rows, train_targets, test_targets = split
    digest = hashlib.sha256(rows.tobytes() + targets.tobytes()).hexdigest()
    return Data(
        train_rows=train_rows,
        train_targets=train_targets,
        test_rows=test_rows,
        test_targets=test_targets,
        features=tuple(loaded.feature_names),
        digest=f"sha256:{digest}",
    )


def train_both(data: Data, folder: Path) -> Iterator[Trained]:
    """Trains a ridge regression and gradient boosting, and saves each in a directory."""
    ridge = RidgeCV(alphas=[0.01, 0.03, 0.1, 0.3, 1.0])
    boosting = GradientBoostingRegressor(
        n_estimators=150, max_depth=2, learning_rate=0.06, subsample=0.7, random_state=_SEED
    )
    yield train("ridge", ridge, data, folder=folder / "ridge")
    yield train("gradient-boosting", boosting, data, folder=folder / "gradient-boosting")


def train(name: str, estimator: Any, data: Data, *, folder: Path) -> Trained:
    """Fits a model, measures it on patients it has not seen, and saves it."""
    started = time.perf_counter()
    estimator.fit(data.train_rows, data.train_targets)
    seconds = time.perf_counter() - started
    rmse = root_mean_squared_error(data.test_targets, estimator.predict(data.test_rows))
    folder.mkdir(parents=True)
    joblib.dump(estimator, folder / MODEL_FILE)
    return Trained(
        name=name,
        estimator=estimator,
        directory=folder,
        params={"kind": name} | simple_params(estimator.get_params()),
        rmse=float(rmse),
        training_seconds=seconds,
        size_bytes=(folder / MODEL_FILE).stat().st_size,
    )


def simple_params(params: dict[str, object]) -> dict[str, object]:
    """Keeps the parameters that are set to something that reads well."""
    return {
        key: value for key, value in params.items() if isinstance(value, int | float | str | list)
    }


def spoil(source: Path, target: Path) -> None:
    """Copies the first half of a saved model, as a job leaves it that dies while it saves."""
    content = (source / MODEL_FILE).read_bytes()
    target.mkdir(parents=True)
    (target / MODEL_FILE).write_bytes(content[: len(content) // 2])
