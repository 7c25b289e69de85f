"""A store that any release has made opens, verifies and answers as it did, with its views or without."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import golden_store
import msgspec
import pytest
from golden_store import GOLDEN, Answers, answers, unpack

import turnlog
from eventstore.events import BIT_OF_TAG
from eventstore.store import EventStore
from eventstore.verify import verify
from turnlog.migrating import migrate

RELEASES = sorted(path.parent.name for path in GOLDEN.glob("*/store.tar.zst"))


def said_then(release: str) -> Answers:
    return msgspec.json.decode((GOLDEN / release / "store.json").read_bytes(), type=Answers)


def laid_out(release: str, path: Path) -> Path:
    unpack((GOLDEN / release / "store.tar.zst").read_bytes(), path)
    return path


def lacking(then: Any, now: Any, place: str = "$") -> list[str]:
    """Where an answer of today lacks what was answered then; what is new is left alone."""
    if type(then) is type(now) is dict:
        return [
            found
            for name, value in then.items()
            for found in lacking(value, now.get(name, "nothing"), f"{place}.{name}")
        ]
    if type(then) is type(now) is list:
        if len(then) != len(now):
            return [place]
        pairs = enumerate(zip(then, now, strict=True))
        return [found for i, (a, b) in pairs for found in lacking(a, b, f"{place}[{i}]")]
    return [] if type(then) is type(now) and then == now else [place]


def test_there_is_a_store_of_the_first_release_with_every_kind_of_event() -> None:
    assert "0.1.0" in RELEASES
    assert {event["event"]["type"] for event in said_then("0.1.0").events} >= BIT_OF_TAG.keys()


@pytest.mark.parametrize("views", ["with its views", "without"])
@pytest.mark.parametrize("release", RELEASES)
async def test_a_store_of_any_release_opens_verifies_and_answers(
    release: str, views: str, data_dir: Path
) -> None:
    laid_out(release, data_dir)
    if views == "without":
        shutil.rmtree(data_dir / "views")
    async with await EventStore.open(data_dir, read_only=True) as store:
        assert list(verify(store.log)) == []
    async with turnlog.open(data_dir) as log:
        await log.runner.wait_for(log.store.head().position)
        now = await answers(log)
    assert lacking(msgspec.to_builtins(said_then(release)), msgspec.to_builtins(now)) == []


@pytest.mark.parametrize("release", RELEASES)
async def test_a_store_of_any_release_is_migrated_to_one_of_this(release: str, tmp_path: Path) -> None:
    old, new = laid_out(release, tmp_path / "old"), tmp_path / "new"
    migrated = await migrate(old, new)
    then = said_then(release)
    assert (migrated.commits, migrated.events) == (then.position, len(then.events))
    async with turnlog.open(new) as log:
        now = await answers(log)
    told = msgspec.structs.replace(then, chain=now.chain)  # it covers stored bytes, which may be others
    assert lacking(msgspec.to_builtins(told), msgspec.to_builtins(now)) == []


def test_a_difference_is_found() -> None:
    then: dict[str, Any] = {"a": [1, {"b": "x"}]}
    assert lacking(then, {"a": [1, {"b": "x", "new": 1}], "c": 2}) == []
    assert lacking(then, {"a": [True, {"b": "x"}]}) == ["$.a[0]"]
    assert lacking(then, {"a": [1, {"c": "x"}]}) == ["$.a[1].b"]
    assert lacking(then, {"a": [1]}) == ["$.a"]


def test_a_golden_store_is_never_overwritten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(golden_store, "GOLDEN", tmp_path / "golden")
    monkeypatch.setattr(golden_store, "ROOT", tmp_path)
    assert golden_store.main() == 0
    (file,) = (tmp_path / "golden").glob("*/store.tar.zst")
    before = file.read_bytes()
    assert golden_store.main() == 1
    assert file.read_bytes() == before
