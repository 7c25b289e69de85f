"""On which file systems a log is not safe, and how they are recognised."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore import environment
from eventstore.environment import UNSAFE_FILE_SYSTEMS, file_system_of
from eventstore.errors import Unavailable
from eventstore.store import EventStore

MOUNTS = r"""
sysfs /sys sysfs rw 0 0
/dev/vda / ext4 rw 0 0
overlay /var overlay rw 0 0
/dev/vdb /var/lib/data xfs rw 0 0
server:/x /srv/net nfs4 rw 0 0
tmpfs /srv/net/fast tmpfs rw 0 0
disk /srv/with\040space btrfs rw 0 0
ssh /export/ann/far fuse.sshfs rw 0 0

broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/data", "ext4"),
        ("/var", "overlay"),
        ("/variable", "ext4"),
        ("/var/lib", "overlay"),
        ("/var/lib/data/x", "xfs"),
        ("/srv/net/x", "nfs4"),
        ("/srv/net/fast/x", "tmpfs"),
        ("/srv/with space/x", "btrfs"),
        ("/export/ann/far/x", "fuse.sshfs"),
    ],
)
def test_the_innermost_mount_says_the_file_system(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind
    if kind in UNSAFE_FILE_SYSTEMS:
        with pytest.raises(Unavailable) as unsafe:
            environment.check_file_system(Path(path), MOUNTS)
        assert (unsafe.value.code, unsafe.value.fields) == (
            "file_system_unsafe",
            {"path": path, "kind": kind},
        )
    else:
        environment.check_file_system(Path(path), MOUNTS)


def test_the_last_mount_on_a_place_counts() -> None:
    assert file_system_of(Path("/a/b"), "x /a ext4 rw\ny /a nfs rw\n") == "nfs"
    assert file_system_of(Path("/a"), "") is None


def test_network_and_overlay_file_systems_are_unsafe() -> None:
    assert {"nfs", "nfs4", "cifs", "9p", "overlay", "fuse.sshfs"} <= UNSAFE_FILE_SYSTEMS
    assert not {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "apfs"} & UNSAFE_FILE_SYSTEMS


async def test_an_unsafe_file_system_is_refused_unless_it_is_allowed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remote(path: Path, mounts: str) -> str:
        assert path == data_dir
        assert mounts
        return "nfs4"

    monkeypatch.setattr(environment, "file_system_of", remote)
    with pytest.raises(Unavailable, match="kind nfs4"):
        await EventStore.open(data_dir)
    async with await EventStore.open(data_dir, allow_unsafe_file_system=True) as store:
        assert store.head().position == 0
