"""What README shows over HTTP runs as it stands, but for the address."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from serving import Served

README: Final = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl to run README's example with")
async def test_the_conversation_with_curl_runs(served: Served) -> None:
    (script,) = [each for each in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "curl" in each]
    assert "http://127.0.0.1:7411" in script
    process = await asyncio.create_subprocess_exec(
        *("sh", "-eu", "-c", script.replace("http://127.0.0.1:7411", served.address)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors
    told = out.decode()
    assert [json.loads(each) for each in re.findall(r'"delta":("[^"]*")', told)] == ["Kite", " Day"]
    assert '{"type":"durable","sequence":2}' in told
    assert '"version":2,' in told
    assert told.rstrip().endswith("data: [DONE]")
