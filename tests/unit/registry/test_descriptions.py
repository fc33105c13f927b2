"""What is said of a version, at its bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from herdbook_server.errors import FieldInvalid, InvalidArgument, LabelInvalid
from herdbook_server.ports.values import Description
from herdbook_server.registry.descriptions import DESCRIPTION_MAX_BYTES, check_about

TENSOR = {"name": "x" * 256, "dtype": "float32", "shape": [-1] * 32, "optional": True}
FULL = Description(
    label="2.1.0",
    description="What it is.",
    tags={"team": "fraud"},
    author="a" * 256,
    params={"depth": "5" * 8192},
    metrics={"rmse": 6.9},
    signature={"inputs": [TENSOR] * 1024, "outputs": [], "params": []},
    input_example={"a": [1, 2.5, None, True, "x"]},
    has_input_example=True,
    framework="f" * 128,
    format="f" * 128,
    lineage={
        "run_id": "r" * 256,
        "run_url": "u" * 2048,
        "code": {"repository": "r" * 2048, "commit": "c" * 128, "dirty": True},
        "datasets": [
            {"name": "n" * 256, "uri": "u" * 256, "digest": "d" * 256, "version": "v" * 256}
        ]
        * 100,
        "parents": ["team/base:3"] * 64,
        "training_duration_us": 0,
    },
    environment={
        "python": "3.11.7",
        "packages": {"p" * 128: "v" * 128},
        "platform": "p" * 256,
        "hardware": "h" * 256,
    },
)


def without(part: str, *path: str | int, value: Any) -> Description:
    """The full description with one thing in one of its parts replaced."""

    def replaced(holder: Any, path: tuple[str | int, ...]) -> Any:
        if not path:
            return value
        if isinstance(holder, list):
            return [replaced(item, path[1:]) for item in holder[:1]]
        return {**holder, path[0]: replaced(holder[path[0]], path[1:])}

    return replace(FULL, **{part: replaced(getattr(FULL, part), path)})


def test_everything_at_its_bound_is_taken_and_so_is_nothing() -> None:
    small = replace(FULL, signature={"inputs": [TENSOR], "outputs": [], "params": []})
    check_about(small)
    check_about(Description())


@pytest.mark.parametrize(
    ("about", "field"),
    [
        (replace(FULL, description="x" * 65_537), "version.description"),
        (replace(FULL, author="x" * 257), "version.author"),
        (replace(FULL, framework="x" * 129), "version.framework"),
        (replace(FULL, format="x\0"), "version.format"),
        (replace(FULL, author="ada\x1b[2J"), "version.author"),
        (replace(FULL, framework="torch\n"), "version.framework"),
        (replace(FULL, format="onnx\x9b"), "version.format"),
        (replace(FULL, params={"a": "x" * 8193}), 'version.params["a"]'),
        (replace(FULL, metrics={"a": float("nan")}), 'version.metrics["a"]'),
        (without("signature", "inputs", value=[TENSOR] * 1025), "version.signature.inputs"),
        (
            without("signature", "inputs", 0, "shape", value=[1] * 33),
            "version.signature.inputs[0].shape",
        ),
        (
            without("signature", "inputs", 0, "shape", value=[-2]),
            "version.signature.inputs[0].shape",
        ),
        (
            without("signature", "inputs", 0, "dtype", value="x" * 65),
            "version.signature.inputs[0].dtype",
        ),
        (without("lineage", "run_id", value="x" * 257), "version.lineage.run_id"),
        (without("lineage", "run_url", value="x" * 2049), "version.lineage.run_url"),
        (without("lineage", "code", "commit", value="x" * 129), "version.lineage.code.commit"),
        (without("lineage", "parents", value=["a"] * 65), "version.lineage.parents"),
        (without("lineage", "parents", value=["a" * 513]), "version.lineage.parents[0]"),
        (
            without("lineage", "datasets", 0, "uri", value="x" * 2049),
            "version.lineage.datasets[0].uri",
        ),
        (
            without("lineage", "training_duration_us", value=-1),
            "version.lineage.training_duration",
        ),
        (without("environment", "python", value="x" * 65), "version.environment.python"),
        (
            without("environment", "packages", value={f"p{n}": "" for n in range(4097)}),
            "version.environment.packages",
        ),
        (
            without("environment", "packages", value={"p": "x" * 129}),
            'version.environment.packages["p"]',
        ),
        (replace(FULL, input_example="x" * 65_535), "version.input_example"),
        (replace(FULL, input_example=["é" * 32_767]), "version.input_example"),
        (replace(FULL, input_example={"a": ["\0"]}), "version.input_example"),
        (replace(FULL, input_example={"\0": 1}), "version.input_example"),
        (replace(FULL, params={f"k{n}": "x" * 8192 for n in range(130)}), "version"),
    ],
)
def test_what_is_out_of_bounds_is_refused_and_named(about: Description, field: str) -> None:
    with pytest.raises(FieldInvalid) as refusal:
        check_about(about)
    assert refusal.value.fields[0].field == field


def test_a_wrong_label_is_refused_as_such() -> None:
    with pytest.raises(LabelInvalid):
        check_about(replace(FULL, label="two"))


def test_an_example_may_speak_of_nul_in_words() -> None:
    check_about(Description(input_example="\\u0000", has_input_example=True))


def test_an_example_nested_without_end_is_refused() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(InvalidArgument, match=r"version\.input_example"):
        check_about(Description(input_example=nested, has_input_example=True))
    while nested:
        nested = nested[0]


def test_all_that_is_said_fits_a_message_of_every_client() -> None:
    assert DESCRIPTION_MAX_BYTES <= 1024 * 1024
    with pytest.raises(FieldInvalid, match="1048576 is the most"):
        check_about(replace(FULL, signature={**FULL.signature, "outputs": [TENSOR] * 1024}))
