"""FORMAT.md and the code that packs say the same: tables, names, limits, and a frame byte by byte."""

from __future__ import annotations

import re
import typing
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
import zstandard
from msgspec import inspect
from samples import START, C, M, S, chunk, ident

from eventstore import body, frame, keys, limits
from eventstore.commits import pack
from eventstore.content import Kind, Part, Role
from eventstore.context import WriteModel
from eventstore.events import BIT_OF_TAG, ChunkReceived, ChunkRun, Event, ForkedFrom, Outcome, StreamStarted
from eventstore.log import StoreFacts

Table = list[list[str]]
TEXT: Final = (Path(__file__).resolve().parents[2] / "FORMAT.md").read_text("utf-8")
WIDTHS: Final = {"B": 1, "I": 4, "Q": 8, "q": 8}


def tables(heading: str) -> list[Table]:
    """The tables below a heading, up to the next one, without their first two lines."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, heading
    blocks = re.findall(r"(?:^\|.*\n)+", found[2], re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()[2:]]
        for block in blocks
    ]


def code(cell: str) -> str:
    """The one thing in backticks."""
    return re.findall(r"`([^`]*)`", cell)[0]


def layout(struct: Struct) -> list[tuple[int, int]]:
    """Offset and size of each field of a packed structure."""
    sizes = [
        int(count) if kind == "s" else WIDTHS[kind]
        for count, kind in re.findall(r"(\d*)([a-zA-Z])", struct.format)
    ]
    return [(sum(sizes[:n]), size) for n, size in enumerate(sizes)]


# -- Frame and keys -----------------------------------------------------------------------------------------


def test_the_frames_header_is_laid_out_as_drawn() -> None:
    (drawn,) = tables("Frame")
    *header, body = [(int(offset), size) for offset, size, _ in drawn]
    assert [(offset, int(size)) for offset, size in header] == layout(frame.HEADER)
    assert body == (frame.HEADER.size, "n")
    assert f"format, {frame.FORMAT}" in drawn[0][2]
    assert f"This is format **{frame.FORMAT}**" in TEXT
    assert frame.HEADER.format.startswith(">"), "big-endian"
    docstring = re.findall(r"^ +(\d+) +(\w+)  (.*)$", str(frame.__doc__), re.MULTILINE)
    assert [row[:2] for row in docstring] == [tuple(row[:2]) for row in drawn]


def test_the_flags_are_those_described() -> None:
    assert f"{frame.COMPRESSED}, the body is compressed" in TEXT
    assert f"{frame.HAS_COMMIT_ID}, a commit id was given" in TEXT
    assert f"{frame.TOGETHER}, it became visible together with the commit before it" in TEXT


def test_the_databases_are_those_described() -> None:
    named, values = tables("Databases")
    names = [code(row[0]).encode() for row in named if row[0] != "(unnamed)"]
    assert tuple(names) == keys.DATABASES
    beside, *others = [row[1] for row in named if row[0] == "(unnamed)"]
    assert beside == "position u64"
    assert [code(name).encode() for name in others] == [keys.HEAD, keys.STORE, keys.MARKS]
    sizes: dict[str, int] = {}
    for name, offset, size, _ in values:
        assert int(offset) == sizes.get(code(name), 0), "fields follow on each other"
        sizes[code(name)] = int(offset) + (int(size) if size != "n" else 0)
    some = bytes(32)
    assert sizes == {
        "commits": keys.DIGEST_BYTES,
        "by_context": len(keys.pack_u64(0)),
        "commit_ids": len(keys.commit_id_value(0, some)),
        "messages": len(keys.message_value(some[:16], 0, False)),
        "write_models": keys.DIGEST_BYTES,
        "head": len(keys.head_value(0, 0, some, 0)),
    }


def test_the_drawings_in_the_code_and_in_the_document_name_the_same_entries() -> None:
    drawn = re.findall(r"^    (\S+) +(.*?) +-> ", str(keys.__doc__), re.MULTILINE)
    named, _ = tables("Databases")
    documented = [(row[0].strip("`"), row[1]) for row in named]
    assert [name for name, _ in drawn] == [name for name, _ in documented]
    for (_, key), (_, described) in zip(drawn, documented, strict=True):
        assert re.findall(r"\w+", key) == re.findall(r"\w+", described)


def test_the_facts_of_a_store_are_those_described() -> None:
    assert [code(f"`{name}`") for name in StoreFacts.__struct_fields__] == [
        "format",
        "store_id",
        "created_at",
    ]
    assert "msgpack map of `format`, `store_id`, `created_at`" in TEXT


# -- Events -------------------------------------------------------------------------------------------------

ENUMERATED: Final = {
    frozenset(typing.get_args(literal)): word
    for literal, word in ((Role, "role"), (Kind, "kind"), (Outcome, "outcome"))
}


def word(kind: Any) -> str:
    """The document's word for a type."""
    match kind:
        case inspect.UnionType(types=types):
            if all(isinstance(item, inspect.StructType) for item in types):
                return "part"
            return " or ".join(word(item) for item in types if not isinstance(item, inspect.CustomType))
        case inspect.NoneType():
            return "nil"
        case inspect.StrType(max_length=bound):
            return "name" if bound else "text"
        case inspect.IntType(ge=least):
            return "number" if least == 1 else "moment"
        case inspect.LiteralType(values=values):
            return ENUMERATED[frozenset(values)]
        case inspect.VarTupleType(item_type=item):
            return f"[{word(item)}]"
        case inspect.StructType():
            return "fork"
        case _:
            return WORDS[type(kind)]


WORDS: Final[dict[type, str]] = {
    inspect.UUIDType: "id",
    inspect.BytesType: "bytes",
    inspect.BoolType: "bool",
    inspect.AnyType: "json",
    inspect.DictType: "object",
}


def written(kind: type[msgspec.Struct]) -> list[str]:
    """Each field as the document writes it: ``name: type = default``."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    lines: list[str] = []
    for field in info.fields:
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory
        if field.required or default is msgspec.NODEFAULT:
            suffix = ""  # a field that an append may leave out, but which the log always writes
        else:
            value = default() if callable(default) else default
            suffix = " = " + msgspec.json.encode(value).decode().replace("null", "nil")
        lines.append(f"{field.encode_name}: {word(field.type)}{suffix}")
    return lines


def described(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def test_every_event_is_described_with_its_tag_bit_and_fields() -> None:
    (rows,) = tables("Events")
    assert {code(tag): int(bit) for tag, bit, _ in rows} == BIT_OF_TAG
    kinds = {str(kind.__struct_config__.tag): kind for kind in typing.get_args(Event)}
    for tag, _, fields in rows:
        kind = kinds[code(tag)]
        assert kind is ChunkReceived or described(fields) == written(kind), tag


def test_a_run_of_chunks_is_described_column_by_column() -> None:
    (rows,) = tables("Chunks")
    assert [f"{code(name)}: {kind}" for name, kind, _ in rows] == written(ChunkRun)
    assert f"Its tag is `{ChunkRun.__struct_config__.tag}`" in TEXT


def test_every_part_is_described() -> None:
    (rows,) = tables("Parts")
    kinds = {str(kind.__struct_config__.tag): kind for kind in typing.get_args(Part)}
    assert [code(tag) for tag, _ in rows] == list(kinds)
    for tag, fields in rows:
        assert described(fields) == written(kinds[code(tag)])


def test_every_word_for_a_type_is_explained() -> None:
    (rows,) = tables("Body")
    explained = {row[0]: row[2] for row in rows}
    for values, name in ENUMERATED.items():
        assert set(described(explained[name])) == values
    assert set(explained) >= set(WORDS.values()) | {"text", "name", "number", "moment", "part", "fork", "[x]"}
    assert f"1 to {limits.NAME_CHARACTERS_MAX} characters" in explained["name"]
    assert f"at most {limits.JSON_DEPTH_MAX} deep" in explained["json"]
    assert ", ".join(f"`{field}`" for field in written(ForkedFrom)) == explained["fork"]


def test_a_snapshot_is_described_place_by_place() -> None:
    (rows,) = tables("Snapshots of write models")
    assert [int(row[0]) for row in rows] == list(range(len(WriteModel.__struct_fields__)))
    assert WriteModel.__struct_config__.array_like
    assert "passes a multiple of 1,000" in TEXT


# -- A frame, and limits ------------------------------------------------------------------------------------


def test_the_annotated_frame_is_what_the_code_writes_and_reads() -> None:
    block = TEXT.split("## A frame, byte by byte")[1].split("```")[1]
    lines = re.findall(r"^ *([0-9a-f]+)(?: |$)", block, re.MULTILINE)
    assert len(lines) == len(block.strip().splitlines())
    stored = bytes.fromhex("".join(lines))
    commit = frame.decode(1, stored, zstandard.ZstdDecompressor())
    events = (
        StreamStarted(S, parent_id=M, model="m-1"),
        chunk(1, "Hel", at=START),
        chunk(2, "lo", at=START + 41_500),
    )
    assert tuple(commit.events()) == events
    assert (commit.context_id, commit.first_version, commit.last_version) == (C, 4, 6)
    assert (commit.metadata, commit.commit_id) == ({"actor": "ann"}, ident(0xEE))
    prepared = body.prepare(pack(events), commit.metadata)
    compressor = zstandard.ZstdCompressor(level=1)
    again = frame.encode(prepared, C.bytes, 4, commit.recorded_at, UUID(int=0xEE).bytes, compressor)
    assert sha256(again).digest() + again == stored


@pytest.mark.parametrize("row", tables("Limits")[0], ids=lambda row: code(row[0]))
def test_a_limit_is_the_one_that_is_enforced(row: list[str]) -> None:
    assert int(row[1].replace(",", "")) == getattr(limits, code(row[0]))


def test_the_document_says_that_views_are_no_format() -> None:
    assert "`views/` is not a format." in TEXT
