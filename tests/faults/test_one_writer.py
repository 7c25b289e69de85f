"""One process writes: a second one is refused with the first one's pid, a forked one in every call."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
import sent
from children import environment, intrude, workload_command
from judge import Sent, send
from test_kill import ENDLESS

from eventstore.errors import Unavailable
from eventstore.store import EventStore


async def test_a_second_process_is_refused_and_told_the_pid_of_the_first(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        await send(store, next(sent.conversation(0, 0)))
        refusal = intrude(data_dir, "write")
        assert (refusal["code"], refusal["pid"]) == ("writer_locked", os.getpid())
        assert str(os.getpid()) in refusal["message"]
        assert (await send(store, list(sent.conversation(0, 0, 2))[1])).position == 2
    assert intrude(data_dir, "write")["code"] == "ok"


async def test_the_same_process_is_refused_too(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        with pytest.raises(Unavailable) as refusal:
            await EventStore.open(data_dir)
        assert refusal.value.code in ("writer_locked", "already_open")
        assert (await send(store, next(sent.conversation(0, 0)))).position == 1


async def test_a_second_process_may_read(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        await send(store, next(sent.conversation(0, 0)))
        assert intrude(data_dir, "read") == {"commits": 1, "append": "log_read_only"}


def test_the_refusal_names_a_holder_that_is_stopped_and_ends_when_it_is_killed(
    data_dir: Path, seed: int
) -> None:
    command = workload_command(data_dir, Sent(seed, 2), ENDLESS)
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        refusal = intrude(data_dir, "write")
        assert (refusal["code"], refusal["pid"]) == ("writer_locked", holder.pid)
        holder.kill()
    assert intrude(data_dir, "write")["code"] == "ok"


def test_a_forked_child_is_refused_in_every_call_and_its_parent_goes_on(data_dir: Path) -> None:
    said = intrude(data_dir, "fork")
    assert set(said["child"].values()) == {"forked_process"}, said["child"]
    assert said["parent"] == 2
