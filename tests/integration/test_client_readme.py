"""The examples of the client's guide, run as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import joblib
import pytest
from sklearn.linear_model import LinearRegression

from tests.support.server import Engines, ServerProcess

GUIDE = Path(__file__).parents[2] / "client" / "README.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(own_server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with a trained model to work in, and a server that the environment names."""
    (tmp_path / "out" / "model").mkdir(parents=True)
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0, 2]), tmp_path / "out/model/model.joblib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERDBOOK_SERVER", own_server.address)
    monkeypatch.setenv("HERDBOOK_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize("engines", ["sqlite+local"], indirect=True)
def test_every_example_of_the_guide_runs(
    engines: Engines, workplace: None, capsys: pytest.CaptureFixture[str]
) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for example in EXAMPLE.finditer(text):
        line = text.count("\n", 0, example.start()) + 1
        # Blank lines before it, so that a traceback names the line of the guide.
        source = "\n" * line + example[1]
        exec(compile(source, GUIDE, "exec"), names)  # noqa: S102 - examples are there to be run
    printed = capsys.readouterr().out
    assert "fraud/tc:1\n" in printed
    assert "VERSION_NOT_FOUND\n" in printed
    assert "True serving" in printed
