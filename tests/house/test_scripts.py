"""The scripts parse, the locks hold what the project asks for with hashes, and no file names an index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SCRIPTS: Final = (
    "scripts/run",
    "scripts/test",
    "scripts/setup",
    "scripts/lock",
    "scripts/browser",
    "scripts/golden",
    "scripts/speed",
    "scripts/service_speed",
    ".ci/run",
)
LOCKS: Final = ("requirements.lock", "requirements-dev.lock")
INDEX: Final = re.compile(
    r"https?://[^/\s]*(?:py"
    r"pi|python"
    r"hosted|npm"
    r"js|registry|debian|pypi-mirror)"
    r"|--(?:extra-)?index-url[ =]|--find-links[ =]|--trusted-host[ =]|^\s*(?:extra-)?index[-_]url\s*=",
    re.MULTILINE,
)
"""Addresses of package registries, and the ways to say one."""


@pytest.fixture
def project(root: Path) -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def pins(lock: str) -> dict[str, tuple[str, int]]:
    """Name -> version and number of hashes, of every package in a lock file."""
    found: dict[str, tuple[str, int]] = {}
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        first, *rest = entry.replace("\\\n", "\n").splitlines()
        requirement = Requirement(first.strip())
        (pin,) = requirement.specifier
        assert pin.operator == "==", entry
        hashes = [line for line in rest if re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line.strip())]
        assert len(hashes) == len(rest), f"not a hash in {entry}"
        found[canonicalize_name(requirement.name)] = pin.version, len(hashes)
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_parses_and_may_be_run(script: str, root: Path) -> None:
    path = root / script
    assert os.access(path, os.X_OK), f"{script} is not executable"
    shell = path.read_text("utf-8").splitlines()[0].split()[-1].rpartition("/")[2]
    for name in {shell, "bash"}:
        if interpreter := shutil.which(name):
            subprocess.run([interpreter, "-n", path], check=True)


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes(name: str, root: Path) -> None:
    for package, (_, hashes) in pins((root / name).read_text("utf-8")).items():
        assert hashes, f"{package} in {name} has no hash"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_answers_what_the_project_asks_for(name: str, root: Path, project: dict[str, Any]) -> None:
    asked = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    if name == "requirements-dev.lock":
        asked += project["dependency-groups"]["dev"]
    locked = pins((root / name).read_text("utf-8"))
    for text in asked:
        requirement = Requirement(text)
        assert canonicalize_name(requirement.name) in locked, f"{name} lacks {text}: run scripts/lock"
        version, _ = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{name} has {version} for {text}: run scripts/lock"


def test_the_two_locks_agree(root: Path) -> None:
    run, dev = (pins((root / name).read_text("utf-8")) for name in LOCKS)
    assert run.items() <= dev.items()


def test_no_file_names_a_package_index(texts: dict[Path, str], root: Path) -> None:
    named = [
        f"{path.relative_to(root)}:{text.count(chr(10), 0, found.start()) + 1} {found[0]}"
        for path, text in texts.items()
        for found in INDEX.finditer(text)
    ]
    assert not named, "\n".join(named)


def test_a_lock_holds_no_address(root: Path) -> None:
    for name in LOCKS:
        text = (root / name).read_text("utf-8")
        assert "://" not in text
        assert not re.search(r"^-", text, re.MULTILINE), f"{name} has an option line"
