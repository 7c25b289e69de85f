"""schemathesis asks every operation of the document, as it should be asked and as it should not.

It is a process of its own that asks a service in this one. More by hand, and with another seed:
``TURNLOG_SCHEMATHESIS="--max-examples 500 --seed 7" python -m pytest -o faulthandler_timeout=0``, and this
file's path.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import Final

import pytest
from serving import new_key, serving
from story import document_of, tell

from turnlog.service import connections
from turnlog.service.connections import Connection
from turnlog.service.schema.operations import OPERATIONS

HERE: Final = Path(__file__).parent

FLAGS: Final = "--max-examples 8 --seed 1"
"""For each operation and mode, besides what it covers by itself: some 3,000 requests, half a minute."""

STREAM_SECONDS: Final = 0.05
"""How long a response that goes on does so."""


class Bounded(Connection):
    """One that the service ends soon after it has begun, with a last word, as it does when it stops."""

    async def transmit(self, data: bytes) -> None:
        await super().transmit(data)
        asyncio.get_running_loop().call_later(STREAM_SECONDS, self.end, "shutdown")


async def test_every_operation_answers_as_the_document_says(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = new_key(data_dir)
    async with serving(data_dir, key=key, log_level="error") as served:
        document = await document_of(served)
        for name in OPERATIONS:
            if name == "redact_message":  # from here on the story takes away what others are asked about
                break
            await tell(served, name, document)
        monkeypatch.setattr(connections, "Connection", Bounded)
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"),
            *("run", f"{served.address}/schema", "-H", f"Authorization: Bearer {key}"),
            *("--checks", "all", "--mode", "all", "--generation-database", "none", "--no-color"),
            *shlex.split(os.environ.get("TURNLOG_SCHEMATHESIS", FLAGS)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "schemathesis_hooks"},
        )
        told, _ = await running.communicate()
    assert running.returncode == 0, told.decode()
    tested = len(OPERATIONS) - 1  # it leaves out the document's own address, /schema/openapi.json
    assert f"Tested: {tested}\n" in told.decode(), told.decode()
