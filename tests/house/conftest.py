"""The project's own files, as the house rules read them."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

PACKAGES: Final = ("eventstore", "projections", "turnlog")
NOT_OURS: Final = (".git", ".venv", "data", "dist", ".hypothesis", ".ruff_cache", "__pycache__")
"""Left out where git cannot say what belongs to the project: an unpacked archive."""


@pytest.fixture(scope="session")
def root() -> Path:
    """Where the project lies."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def files(root: Path) -> list[Path]:
    """Every file of the project, committed or about to be."""
    git = shutil.which("git")
    if git and (root / ".git").exists():
        command = [git, "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
        paths = [root / name for name in names if name]
    else:
        paths = [path for path in root.rglob("*") if not set(path.relative_to(root).parts) & set(NOT_OURS)]
    return sorted(path for path in paths if path.is_file())


@pytest.fixture(scope="session")
def texts(files: list[Path]) -> dict[Path, str]:
    """The text of every file that is text."""
    found: dict[Path, str] = {}
    for path in files:
        try:
            found[path] = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
    return found


@pytest.fixture(scope="session")
def sources(texts: dict[Path, str], root: Path) -> dict[str, str]:
    """Every Python file: its path from the root, and its text."""
    return {path.relative_to(root).as_posix(): text for path, text in texts.items() if path.suffix == ".py"}


@pytest.fixture(scope="session")
def modules(sources: dict[str, str]) -> dict[str, ast.Module]:
    """The packages' modules by dotted name, parsed."""
    found: dict[str, ast.Module] = {}
    for path, text in sources.items():
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if name.split(".")[0] in PACKAGES:
            found[name] = ast.parse(text, path)
    return found
