"""Keys for tests: made at a fixed time, by this process or by others, and files that are none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from commands import environment

from turnlog.service.key_file import create_key, path_in, read
from turnlog.service.keys import Key, StoredKey

NOW: Final = 1_800_000_000_000_000
DAY_US: Final = 86_400_000_000
TEXT: Final = re.compile(r"tl_[0-9a-f]{8}_[0-9a-f]{64}")

CREATOR: Final = """
import sys
from pathlib import Path
from turnlog.service.key_file import create_key, revoke_key
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    key, _ = create_key(
        Path(sys.argv[1]),
        name=f"{sys.argv[3]}-{number}",
        workspace=None,
        role="reader",
        expires_at=None,
        now=1,
    )
    if number % 2:
        revoke_key(Path(sys.argv[1]), key.id, 2)
    print(key.id, flush=True)
"""
"""Makes keys one after another, once it gets a line."""


WHOLE: Final = b'{"id":"0badcafe","name":null,"workspace":null,"role":"reader","created_at":1}'
DAMAGED: Final = (
    b"",
    b"{}",
    b"[]",
    b"\xff",
    b"\0" * 500,
    b'{"format": 1}',
    b'{"format": "1", "keys": []}',
    b'{"format": 1, "keys": [{}]}',
    b'{"format": 1, "keys": [{"key": ' + WHOLE + b', "digest": "0"}]}',
    b'{"format": 1, "keys": [{"key": '
    + WHOLE.replace(b"reader", b"boss")
    + b', "digest": "%s"}]}' % (b"0" * 64),
    b'{"format": 1, "keys": [{"key": '
    + WHOLE.replace(b"0badcafe", b"")
    + b', "digest": "%s"}]}' % (b"0" * 64),
    b'{"format": 1, "keys": [%s, %s]}' % ((b'{"key": ' + WHOLE + b', "digest": "' + b"0" * 64 + b'"}',) * 2),
    b'{"format": 1, "keys": ' + b"[" * 100_000,
)
"""What a file may hold that nobody wrote as keys."""


def make(directory: Path, **more: Any) -> tuple[Key, str]:
    facts: dict[str, Any] = {"name": None, "workspace": "w", "role": "writer", "expires_at": None, "now": NOW}
    return create_key(directory, **(facts | more))


def stored_in(directory: Path) -> tuple[StoredKey, ...]:
    stored = read(path_in(directory))
    assert stored is not None
    return stored.keys


def creator(directory: Path, number: int, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CREATOR, str(directory), str(number), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
