"""Copies of one context of copilot_chat: the newest is taken, and what only the others say is told."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from copilot_stores import ID, plain, read_one, text_of
from legacy import Context, stream_payload, write_json


def test_the_newer_copy_of_a_context_is_taken_whichever_comes_first(fixtures: Path, tmp_path: Path) -> None:
    name = "24138a28-70c2-5ce1-a893-7e4a9397d5c3.json"
    samples = fixtures / "copilot_chat"
    for newer, older in (("a", "b"), ("b", "a")):
        for folder, origin in ((newer, "conversations"), (older, "conversations_older")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes((samples / origin / name).read_bytes())
        merged = read_one(tmp_path)
        assert merged.origin == f"{newer}/{name}"
        assert "workspace_path" in merged.config
        assert sorted(merged.files) == [f"a/{name}", f"b/{name}"]
        assert [(problem.path, problem.code) for problem in merged.warnings] == [
            (f"{older}/{name}", "merged")
        ]


def test_copies_that_went_different_ways_give_one_context_with_the_messages_of_both(tmp_path: Path) -> None:
    longer, other = plain("a", "b", "c"), plain("a", "changed")
    extra = "33333333-3333-4333-8333-333333333333"
    other["message_pool"][extra] = {**other["message_pool"].popitem()[1], "id": extra}
    other["branches"]["main"]["message_ids"][-1] = extra
    write_json(tmp_path / "x" / f"{ID}.json", longer)
    write_json(tmp_path / "y" / f"{ID}_20251101_120000.json", other)
    merged = read_one(tmp_path)
    assert [text_of(message) for message in merged.messages] == ["a", "b", "c", "changed"]
    assert merged.messages[-1].branch not in merged.branches
    codes = {problem.code for problem in merged.warnings}
    assert codes == {"merged", "only_in_older_copy", "misnamed", "copies_differ"}


def test_a_message_that_differs_between_copies_is_told(tmp_path: Path) -> None:
    write_json(tmp_path / "x" / f"{ID}.json", plain("a", "b"))
    write_json(tmp_path / "y" / f"{ID}.json", plain("other"))
    merged = read_one(tmp_path)
    assert [text_of(message) for message in merged.messages] == ["a", "b"]
    assert [problem.code for problem in merged.warnings] == ["merged", "copies_differ"]
    assert merged.files == (f"x/{ID}.json",)  # the other holds what is nowhere else


def test_a_stream_that_went_on_is_no_difference(tmp_path: Path) -> None:
    older, newer = plain("q", "a"), plain("q", "a")
    for copy, pieces in ((older, ["a"]), (newer, ["a", "b"])):
        last = list(copy["message_pool"].values())[-1]["message"]
        payload = stream_payload(pieces, [1] * len(pieces), finished=len(pieces) == 2)
        last["content"][0]["text"] = payload["content"]
        last["rich_type"] = {"kind": "streaming_response", "data": payload}
    write_json(tmp_path / "x" / f"{ID}.json", newer)
    write_json(tmp_path / "y" / f"{ID}.json", older)
    merged = read_one(tmp_path)
    assert merged.messages[1].streamed is not None
    assert len(merged.messages[1].streamed.chunks) == 2
    assert [problem.code for problem in merged.warnings] == ["merged"]
    assert len(merged.files) == 2


def test_what_only_the_older_copy_says_of_the_context_is_told(tmp_path: Path) -> None:
    newer = plain("a", "b")
    older = {**plain("a"), "config": {"model_id": "other"}, "title": "t", "note": 1}
    write_json(tmp_path / "x" / f"{ID}.json", newer)
    write_json(tmp_path / "y" / f"{ID}.json", older)
    places = [problem.place for problem in read_one(tmp_path).warnings if problem.code == "copies_differ"]
    assert places == ["$.config", "$.title", "$.note"]


def ids_of(context: Context) -> list[str]:
    return context["branches"]["main"]["message_ids"]


def told_of(directory: Path) -> list[str | None]:
    """The places where two copies in a folder are told to differ."""
    return [problem.place for problem in read_one(directory).warnings if problem.code == "copies_differ"]


def write_both(directory: Path, newer: Context, older: Context) -> None:
    write_json(directory / "x" / f"{ID}.json", newer)
    write_json(directory / "y" / f"{ID}.json", older)


def test_of_copies_that_went_different_ways_the_one_that_was_said_last_is_newer(tmp_path: Path) -> None:
    long, late = plain("a", "b", "c"), plain("a", "changed")
    late["message_pool"] = {own: node for own, node in late["message_pool"].items() if own != ids_of(late)[1]}
    extra = "33333333-3333-4333-8333-333333333333"
    late["message_pool"][extra] = {**long["message_pool"][ids_of(long)[1]], "id": extra}
    late["branches"]["main"]["message_ids"][1] = extra
    for context, day in ((long, 1), (late, 2)):
        for node in context["message_pool"].values():
            node["message"] = {**node["message"], "metadata": {"created_at": f"2025-11-0{day}T10:00:00Z"}}
    write_both(tmp_path, long, late)
    merged = read_one(tmp_path)
    assert merged.origin == f"y/{ID}.json"
    assert merged.branches == {"main": UUID(extra)}
    assert len(merged.messages) == 4


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"branches": {"main": {"message_ids": []}, "side": {"message_ids": []}}}, "$.branches.side"),
        ({"current_state": {"failed": {"error": "x"}}}, "$.current_state"),
        ({"active_branch_name": "side"}, "$.active_branch_name"),
    ],
)
def test_what_only_the_older_copy_says_of_branches_and_state_is_told(
    tmp_path: Path, changes: Context, place: str
) -> None:
    newer, older = plain("a", "b"), plain("a") | changes
    if place == "$.active_branch_name":
        for copy in (newer, older):
            copy["branches"]["side"] = {"name": "side", "message_ids": []}
    write_both(tmp_path, newer, older)
    assert told_of(tmp_path) == [place]
    assert read_one(tmp_path).files == (f"x/{ID}.json",)


def test_a_branch_that_went_on_is_no_difference_and_one_that_was_turned_is(tmp_path: Path) -> None:
    write_both(tmp_path, plain("a", "b", "c"), plain("a", "b"))
    assert told_of(tmp_path) == []
    turned = plain("a", "b", "c")
    turned["branches"]["main"]["message_ids"] = ids_of(turned)[:1]
    write_both(tmp_path, turned, plain("a", "b"))
    assert told_of(tmp_path) == ["$.branches.main"]


def test_a_message_with_another_parent_or_time_is_told(tmp_path: Path) -> None:
    newer, older = plain("a", "b", "c"), plain("a", "b")
    last = older["message_pool"][ids_of(older)[1]]
    last["parent_id"] = None
    write_both(tmp_path, newer, older)
    assert ids_of(older)[1] in told_of(tmp_path)
    last["parent_id"] = ids_of(older)[0]
    last["message"]["metadata"] = {"created_at": "2025-11-01T10:00:00Z"}
    write_both(tmp_path, newer, older)
    assert told_of(tmp_path) == [ids_of(older)[1]]


def test_a_stream_that_was_over_cannot_have_gone_on(tmp_path: Path) -> None:
    older, newer = plain("q", "a"), plain("q", "a", "more")
    for copy, pieces in ((older, ["a"]), (newer, ["a", "b"])):
        last = copy["message_pool"][ids_of(copy)[1]]["message"]
        payload = stream_payload(pieces, [1] * len(pieces), finished=True)
        last["content"][0]["text"] = payload["content"]
        last["rich_type"] = {"kind": "streaming_response", "data": payload}
    write_both(tmp_path, newer, older)
    assert told_of(tmp_path) == [ids_of(older)[1]]
