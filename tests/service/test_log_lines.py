"""What becomes of lines that cannot be written, as to a file on a full disk."""

from __future__ import annotations

import errno
import io
import logging
import sys

import pytest
import structlog

from turnlog.service.logs import configure


class FullDisk(io.BytesIO):
    """Takes nothing while ``full``."""

    full = True

    def write(self, data: object, /) -> int:
        """Write."""
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)  # pyright: ignore[reportArgumentType] -- whatever a log line is made of


def test_a_line_that_cannot_be_written_is_lost_and_whoever_logs_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = FullDisk()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(disk))
    monkeypatch.setattr(logging, "basicConfig", dict)
    before = structlog.get_config()
    try:
        configure("info")
        logger = structlog.get_logger("test")
        logger.info("lost")
        logger.info("lost")
        disk.full = False
        logger.info("written")
    finally:
        structlog.configure(**before)
    assert disk.getvalue().count(b"written") == 1
    assert b"lost" not in disk.getvalue()
