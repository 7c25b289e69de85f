"""The habits that a machine can check and the linter does not."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eventstore import errors

MODULE_LINES_MAX: Final = 320
"""A module is read in one sitting."""
TEST_LINES_MAX: Final = 500
"""A test file mirrors a module, and shows every fact with what leads to it."""
FUNCTION_LINES_MAX: Final = 70
"""A function fits a screen."""

LATER: Final = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
"""What is not done is not promised in a comment."""
MACHINE_PATHS: Final = re.compile(r"(?<![\w.~:*}-])/(home|root|Users|work|tmp|mnt|opt)/\w|[A-Z]:\\\\?Users")
"""Paths that exist on one machine only."""
EXCEPTION: Final = re.compile(r"#\s*(?:(?:ruff|flake8):\s*)?(?:noqa|type:|(?:based)?pyright:|mypy:|pragma:)")
REASONED: Final = re.compile(
    r"#\s*(?:noqa: [A-Z]+[0-9]+(?:, ?[A-Z]+[0-9]+)*|pyright: ignore\[[\w, ]+\]) -- \w+\W+\w+"
)
"""The one way to write an exception to a rule: which rule, and why here."""
SLEEPERS: Final = ("time", "anyio", "asyncio", "trio")


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of every comment."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_every_file_opens_by_saying_what_it_owns(sources: dict[str, str]) -> None:
    for path, text in sources.items():
        tree = ast.parse(text)
        docstring = ast.get_docstring(tree) or ""
        assert docstring, f"{path} has no docstring"
        assert tree.body[0].lineno == 1, f"{path} does not open with its docstring"
        first = docstring.splitlines()[0]
        assert re.fullmatch(r"\S+ .*\.", first), f"{path}: the first line is no sentence: {first}"
        assert not first.startswith("This module"), f"{path}: {first}"


def test_modules_are_short(sources: dict[str, str]) -> None:
    long = {
        path: lines
        for path, text in sources.items()
        if (lines := text.count("\n")) > (TEST_LINES_MAX if path.startswith("tests/") else MODULE_LINES_MAX)
    }
    assert not long, long


def test_functions_fit_a_screen(sources: dict[str, str]) -> None:
    long: list[str] = []
    for path, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert not long, "\n".join(long)


def test_nothing_is_left_for_later(texts: dict[Path, str], root: Path) -> None:
    later = [
        f"{path.relative_to(root)}:{number} {line.strip()[:100]}"
        for path, text in texts.items()
        if "fixtures" not in path.parts  # recordings of what others wrote
        for number, line in enumerate(text.splitlines(), 1)
        if LATER.search(line)
    ]
    assert not later, "\n".join(later)


def test_only_the_command_line_prints(modules: dict[str, ast.Module]) -> None:
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write"):
                assert name.startswith("turnlog.cli"), f"{name}:{node.lineno} prints"


def test_no_test_sleeps(sources: dict[str, str]) -> None:
    sleeping: list[str] = []
    for path, text in sources.items():
        if not path.startswith("tests/"):
            continue
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Attribute(value=ast.Name(id=module), attr="sleep") if module in SLEEPERS:
                    sleeping.append(f"{path}:{node.lineno}")
                case ast.ImportFrom(module=module) if module in SLEEPERS:
                    sleeping += [f"{path}:{node.lineno}" for alias in node.names if alias.name == "sleep"]
                case _:
                    pass
    assert not sleeping, f"wait for the event itself: {sleeping}"


def test_every_exception_to_a_rule_names_the_rule_and_its_reason(sources: dict[str, str]) -> None:
    bare = [
        f"{path}:{line} {comment}"
        for path, text in sources.items()
        for line, comment in comments(text)
        if EXCEPTION.search(comment) and not REASONED.search(comment)
    ]
    assert not bare, "\n".join(bare)


def test_no_file_names_a_place_on_one_machine(texts: dict[Path, str], root: Path) -> None:
    named = [
        f"{path.relative_to(root)}:{number} {line.strip()[:100]}"
        for path, text in texts.items()
        if "fixtures" not in path.parts  # recordings of what others wrote
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert not named, "\n".join(named)


def codes_in(node: ast.expr) -> Iterator[str]:
    """Every code that an expression can be, as a pattern."""
    match node:
        case ast.Constant(value=str(code)):
            yield re.escape(code)
        case ast.IfExp(body=one, orelse=other):
            yield from codes_in(one)
            yield from codes_in(other)
        case ast.JoinedStr(values=pieces):
            yield "".join(
                re.escape(str(piece.value)) if isinstance(piece, ast.Constant) else "[a-z_]+"
                for piece in pieces
            )
        case _:
            pass


def test_every_code_that_is_raised_is_in_the_table(modules: dict[str, ast.Module]) -> None:
    kinds = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    unknown: list[str] = []
    for name, tree in modules.items():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id=kind) | ast.Attribute(attr=kind), args=[first, *_]):
                    unknown += [
                        f"{name}:{node.lineno} {code}"
                        for code in codes_in(first)
                        if kind in kinds and not any(re.fullmatch(code, known) for known in errors.CODES)
                    ]
                case _:
                    pass
    assert not unknown, "\n".join(unknown)


def test_every_code_in_the_table_is_raised(modules: dict[str, ast.Module]) -> None:
    said = {
        node.value
        for name, tree in modules.items()
        if name != "eventstore.errors"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not (unused := sorted(set(errors.CODES) - said)), f"nothing says {unused}"
