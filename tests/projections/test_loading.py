"""Projections that users bring: by name, by entry point, and what is refused; the README's example."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from example_projection import WordCount
from witness import CONTEXT, STREAM, Journal, ident, opened

from eventstore.commits import Append
from eventstore.content import TextPart
from eventstore.errors import Refused
from eventstore.events import (
    ALL_BITS,
    ChunkReceived,
    ContextCreated,
    MessageAppended,
    StreamFinalized,
    StreamStarted,
)
from projections import loading
from projections.projection import MILESTONES
from projections.runner import Runner

MODULE = '''
class Count:
    name = "count"
    version = 1
    tables = ("t",)
    kinds = 1

    def apply(self, commit, rows, past):
        """Nothing."""

ready = Count()
inner = type("Namespace", (), {"Count": Count})

def make():
    return Count()

def broken():
    raise ValueError("no")
'''


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of the user's, on the import path."""
    (tmp_path / "users_projections.py").write_text(MODULE)
    (tmp_path / "users_broken.py").write_text("1 / 0")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return "users_projections"


@pytest.mark.parametrize("name", ["Count", "ready", "make", "inner.Count"])
def test_a_class_an_instance_or_a_function_can_be_named(user_module: str, name: str) -> None:
    projection = loading.load(f"{user_module}:{name}")
    assert (projection.name, projection.version, projection.tables) == ("count", 1, ("t",))
    projection.apply(None, None, None)  # pyright: ignore[reportArgumentType] -- it looks at none of them


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("users_projections", "module:name"),
        (":Count", "module:name"),
        ("users_projections:", "module:name"),
        ("no_such_module:Count", "ModuleNotFoundError"),
        ("users_projections:Other", "AttributeError"),
        ("users_broken:Count", "ZeroDivisionError"),
        ("users_projections:broken", "ValueError"),
        ("users_projections:__name__", "it has no name"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_the_reason(user_module: str, reference: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        loading.load(reference)
    assert refused.value.code == "invalid_projection"
    assert user_module


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", name) for name in ("", "a.b", "a b", "a\n", "é", "x" * 51, 7)),
        *(("version", version) for version in (0, -1, "1", 1.0, True)),
        *(("tables", tables) for tables in ((), ["t"], ("t", "t"), ("a.b",), ("",), (b"t",), "t")),
        *(("kinds", kinds) for kinds in (0, -1, 1 << 30, MILESTONES << 1, "all", True)),
        ("apply", "not callable"),
    ],
)
def test_a_malformed_projection_is_refused(field: str, value: object) -> None:
    sound: dict[str, Any] = {
        "name": "n",
        "version": 1,
        "tables": ("t",),
        "kinds": 1,
        "apply": print,
    }
    for kinds in (1, ALL_BITS | MILESTONES):
        loading.check([SimpleNamespace(**{**sound, "kinds": kinds})])  # pyright: ignore[reportArgumentType] -- as a user's comes
    with pytest.raises(Refused) as refused:
        loading.check([SimpleNamespace(**{**sound, field: value})])  # pyright: ignore[reportArgumentType] -- as above
    assert refused.value.code == "invalid_projection"


def test_two_projections_of_one_name_are_refused() -> None:
    with pytest.raises(Refused, match="two projections"):
        loading.check([Journal(), Journal(version=2)])


def test_installed_projections_are_found_by_their_entry_points(
    user_module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [
        EntryPoint("b", f"{user_module}:ready", loading.GROUP),
        EntryPoint("a", "example_projection:WordCount", loading.GROUP),
    ]
    asked: list[str] = []

    def entry_points(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return points

    monkeypatch.setattr(loading, "entry_points", entry_points)
    assert [projection.name for projection in loading.installed()] == ["word_count", "count"]
    assert asked == ["turnlog.projections"]


def test_an_installed_projection_that_cannot_be_loaded_is_refused(
    user_module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry_points(*, group: str) -> list[EntryPoint]:
        return [EntryPoint("a", "users_broken:Count", group)]

    monkeypatch.setattr(loading, "entry_points", entry_points)
    with pytest.raises(Refused, match="users_broken:Count"):
        loading.installed()
    assert user_module


async def test_the_example_counts_whole_and_streamed_words(data_dir: Path) -> None:
    async with opened(data_dir, [loading.load("example_projection:WordCount")]) as (store, views):
        assert isinstance(views.projections["word_count"], WordCount)
        async with Runner(store, views) as runner:
            await store.append(CONTEXT, [ContextCreated()])
            said = MessageAppended(ident(1), "user", (TextPart("Where is the moon"),))
            await store.append_many(
                [
                    Append(CONTEXT, (said,)),
                    Append(CONTEXT, (StreamStarted(STREAM),)),
                    Append(CONTEXT, (ChunkReceived(STREAM, 1, "The mo"), ChunkReceived(STREAM, 2, "on "))),
                    Append(CONTEXT, (ChunkReceived(STREAM, 3, "is up"),)),
                    Append(CONTEXT, (StreamFinalized(STREAM, "completed"),)),
                ]
            )
            await runner.wait_for(store.acknowledged, "word_count")
            with views.reading() as reader:
                prefix = CONTEXT.bytes
                rows = reader.scan("word_count", "words", prefix, prefix + b"\xff")
                counts = {key[16:].decode(): int.from_bytes(value, "big") for key, value in rows}
                assert list(reader.scan("word_count", "open", b"", b"\xff")) == []
        assert counts == {"where": 1, "is": 2, "the": 2, "moon": 2, "up": 1}
