"""The page that shows the document to people: HTML without scripts, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from typing import Any, Final

import msgspec

from turnlog.service.event_stream import SSE
from turnlog.service.schema.shapes import REF, reference

STYLE: Final = files(__package__ or "").joinpath("page.css").read_text()

POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'"
)
"""What a browser may do with the page: show it, in this style."""

_CODE: Final = re.compile(r"`([^`]+)`")
_BOLD: Final = re.compile(r"\*\*([^*]+)\*\*")
_LINK: Final = re.compile(rf"&quot;{re.escape(REF)}(\w+)&quot;")


def page(document: Mapping[str, Any]) -> bytes:
    """The whole of it."""
    info, schemas = document["info"], document["components"]["schemas"]
    by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {
        tag["name"]: [] for tag in document["tags"]
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append((path, method, operation))
    body = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        "<p>The same as OpenAPI 3.1: <a href='/schema/openapi.json'>openapi.json</a></p>",
        _prose(info["description"]),
    ]
    for tag in document["tags"]:
        name = tag["name"]
        body.append(f"<h2 id='tag-{name}'>{name}</h2>{_prose(tag['description'])}")
        body += [_operation(path, method, one) for path, method, one in by_tag[name]]
    body.append("<h2 id='problems'>problems</h2>")
    problems = document["x-problems"].items()
    rows = [
        (_code(code), str(known["status"]), escape(" ".join([known["hint"], known.get("elsewhere", "")])))
        for code, known in problems
    ]
    body.append(_table(("code", "status", "what to do"), rows))
    body.append("<h2 id='schemas'>schemas</h2>")
    for name, schema in schemas.items():
        body.append(
            _details(f"schema-{name}", _code(name), _prose(schema.get("description", "")), _json(schema))
        )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head>"
        f"<body>{_navigation(by_tag)}<main>{''.join(body)}</main></body></html>"
    ).encode()


def _navigation(by_tag: Mapping[str, Iterable[tuple[str, str, Mapping[str, Any]]]]) -> str:
    groups = [
        f"<h2><a href='#tag-{name}'>{name}</a></h2><ul>"
        + "".join(
            f"<li><a href='#{one['operationId']}'>{escape(one['operationId'])}</a></li>"
            for _, _, one in found
        )
        + "</ul>"
        for name, found in by_tag.items()
    ]
    ends = "<h2><a href='#problems'>problems</a></h2><h2><a href='#schemas'>schemas</a></h2>"
    return f"<nav>{''.join(groups)}{ends}</nav>"


def _operation(path: str, method: str, one: Mapping[str, Any]) -> str:
    title = f"<span class='method {method}'>{method.upper()}</span><code>{escape(path)}</code> " + _inline(
        one["summary"]
    )
    parts = [_prose(one.get("description", "")), _security(one["security"])]
    if one["parameters"]:
        rows = [
            (_code(given["name"]), _where(given), _described(given), _example(given))
            for given in one["parameters"]
        ]
        parts.append("<h4>Parameters</h4>" + _table(("name", "in", "what", "example"), rows))
    if "requestBody" in one:
        parts.append(f"<h4>Body</h4>{_content(one['requestBody']['content'])}")
    problems: list[tuple[str, str]] = []
    for status, response in one["responses"].items():
        if "application/problem+json" in response.get("content", {}):
            problems.append((status, _prose(response["description"].replace("\n", "\n\n").replace("- ", ""))))
        else:
            headers = "".join(f" {_code(name)}" for name in response.get("headers", ()))
            parts.append(
                f"<h4>{status}</h4><p>{_inline(response['description'])}"
                + (f" Headers:{headers}" if headers else "")
                + f"</p>{_content(response.get('content', {}))}"
            )
    parts.append("<h4>Problems</h4>" + _table(("status", "codes"), problems))
    return _details(one["operationId"], title, *parts)


def _content(content: Mapping[str, Any]) -> str:
    """Media types; those that say the same are shown once."""
    shown: dict[int, tuple[list[str], Mapping[str, Any]]] = {}
    for kind, media in content.items():
        shown.setdefault(id(media), ([], media))[0].append(kind)
    parts: list[str] = []
    for kinds, media in shown.values():
        parts.append(f"<p>{', '.join(map(_code, kinds))}</p>{_said(kinds[0], media['schema'])}")
        if "example" in media:
            example = media["example"]
            text = example if isinstance(example, str) else _formatted(example)
            parts.append(f"<p>Example:</p><pre>{escape(text)}</pre>")
    return "".join(parts)


def _said(kind: str, schema: Mapping[str, Any]) -> str:
    """A schema; of server-sent events which there are, and what each says."""
    if kind != SSE or "anyOf" not in schema:
        return _json(schema)
    rows: list[tuple[str, str]] = []
    for one in schema["anyOf"]:
        known = one.get("properties", {})
        name = _code(known["event"]["const"]) if "event" in known else ""
        rows.append((name, _json(known["data"]["contentSchema"]) if known else _inline(one["description"])))
    return _table(("event", "data"), rows)


def _security(security: Iterable[Mapping[str, list[str]]]) -> str:
    roles = {role for one in security for role in next(iter(one.values()))}
    return f"<p>Needs a key of role {', '.join(map(_code, roles))}.</p>" if roles else "<p>Needs no key.</p>"


def _where(given: Mapping[str, Any]) -> str:
    return escape(given["in"]) + (", required" if given["required"] and given["in"] != "path" else "")


def _described(given: Mapping[str, Any]) -> str:
    schema = {key: value for key, value in given["schema"].items() if key != "description"}
    return f"{_inline(given.get('description', ''))} <code>{escape(_compact(schema))}</code>"


def _example(given: Mapping[str, Any]) -> str:
    return _code(str(given["example"])) if "example" in given else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"


def _details(name: str, title: str, *parts: str) -> str:
    return f"<details id='{name}'><summary>{title}</summary>{''.join(parts)}</details>"


def _json(value: Mapping[str, Any]) -> str:
    """JSON whose references lead to what they name; one that is nothing else is just that."""
    name = reference(value)
    if name is not None:
        return f"<a href='#schema-{name}'>{name}</a>"
    linked = _LINK.sub(r"<a href='#schema-\1'>\1</a>", escape(_formatted(value)))
    return f"<pre>{linked}</pre>"


def _formatted(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _compact(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _inline(text: str) -> str:
    return _BOLD.sub(r"<b>\1</b>", _CODE.sub(r"<code>\1</code>", escape(text, quote=False)))


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part.strip())
