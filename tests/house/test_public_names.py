"""What a user may import is listed, sorted, documented, and shown in README.md."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

PACKAGES = ("eventstore", "projections", "turnlog")


def isort_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions: the linter's order."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def exported(tree: ast.Module) -> list[str] | None:
    """The literal value of ``__all__``."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return list(ast.literal_eval(value))
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                return list(ast.literal_eval(value))
            case _:
                continue
    return None


def defined(tree: ast.Module) -> set[str]:
    """Every public name that a module defines; unlisted imports are the linter's to find."""
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case _:
                pass
    return {name for name in names if not name.startswith("_")}


def is_documented(name: str, module: str, modules: dict[str, ast.Module]) -> bool:
    """Whether the definition of a name, wherever it is imported from, has a docstring of its own."""
    body = modules[module].body
    for index, node in enumerate(body):
        match node:
            case ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found) | ast.ClassDef(name=found):
                if found == name:
                    return bool(ast.get_docstring(node))
            case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)):
                after = body[index + 1] if index + 1 < len(body) else None
                if found == name:
                    return isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            case ast.ImportFrom(module=str(source)):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        inner = f"{source}.{alias.name}"
                        if inner in modules:
                            return bool(ast.get_docstring(modules[inner]))
                        return source in modules and is_documented(alias.name, source, modules)
            case _:
                pass
    return False


def test_the_front_door_lists_its_names(modules: dict[str, ast.Module]) -> None:
    assert exported(modules["turnlog"]), "turnlog has no __all__"


def test_every_list_of_public_names_is_sorted_and_true(modules: dict[str, ast.Module]) -> None:
    for name, tree in modules.items():
        public = exported(tree)
        if public is not None:
            assert public == sorted(set(public), key=isort_order), f"{name}.__all__ is not sorted"
            module = importlib.import_module(name)
            missing = [item for item in public if not hasattr(module, item)]
            assert not missing, f"{name}.__all__ names what is not there: {missing}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_the_names_that_it_defines(package: str, modules: dict[str, ast.Module]) -> None:
    public = set(exported(modules[package]) or ())
    unlisted = sorted(defined(modules[package]) - public)
    assert not unlisted, f"{package} defines {unlisted} but does not list them"


def test_every_public_name_is_documented(modules: dict[str, ast.Module]) -> None:
    bare = [
        f"{package}.{name}"
        for package in PACKAGES
        for name in exported(modules[package]) or ()
        if not is_documented(name, package, modules)
    ]
    assert not bare, f"no docstring: {bare}"


def test_readme_shows_every_public_name(modules: dict[str, ast.Module], root: Path) -> None:
    readme = (root / "README.md").read_text("utf-8")
    missing = [name for name in exported(modules["turnlog"]) or () if not re.search(rf"\b{name}\b", readme)]
    assert not missing, f"README.md does not mention {missing}"
