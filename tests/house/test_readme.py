"""README's examples run, and what it says about tests, verbs and JSON is so."""

from __future__ import annotations

import re
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

import turnlog
from turnlog.cli.json_output import JSON_SHAPES

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text()
PYTHON: Final[list[str]] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


async def test_the_ten_lines_run(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def model() -> AsyncIterator[str]:
        for delta in ("Everybody", " flies", " a kite."):
            yield delta

    monkeypatch.chdir(data_dir)
    namespace: dict[str, Any] = {"turnlog": turnlog, "model": model}
    source = "async def example():\n" + textwrap.indent(PYTHON[0], "    ")
    exec(source, namespace)
    await namespace["example"]()
    assert capsys.readouterr().out.splitlines() == [
        "Holidays became Kite Day",
        "Everybody flies a kite.",
    ]


def test_the_ten_lines_are_about_ten() -> None:
    assert len(PYTHON[0].splitlines()) <= 12


def test_the_projection_is_the_one_that_is_tested() -> None:
    tested = (ROOT / "tests/projections/example_projection.py").read_text()
    assert PYTHON[1].strip() in tested


def test_every_test_that_a_promise_names_is_there() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| ") and "tests/" in line]
    assert len(rows) == 8, "the promises"
    for named in re.findall(r"tests/[\w/]+\.py", README):
        assert (ROOT / named).is_file(), named


def test_the_json_shapes_are_those_of_the_command() -> None:
    for verb, shape in JSON_SHAPES.items():
        assert f"| {verb} | {shape} |" in README


def test_every_verb_is_listed() -> None:
    listed = re.findall(r"^([a-z-]+(?: [a-z]+)?)  +[A-Z]", README, re.MULTILINE)
    assert sorted(listed) == sorted(JSON_SHAPES)
