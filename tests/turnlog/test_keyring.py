"""The keyring of a running service: who is let in, what a refusal tells, and that it never opens itself."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from locksmith import DAMAGED, DAY_US, NOW, creator, go, make
from structlog.testing import capture_logs

from eventstore.errors import CODES, Damaged, Refused, TurnlogError
from turnlog.service import keys as keys_module
from turnlog.service.key_file import path_in, revoke_key
from turnlog.service.keyring import Keyring
from turnlog.service.keys import ANYBODY, KeyRefused, digest_of

UNKNOWN: Final = "tl_0badcafe_" + "0" * 64


def refused(keyring: Keyring, text: str | None, now: int = NOW) -> KeyRefused:
    with pytest.raises(KeyRefused) as raised:
        keyring.authenticate(text, now)
    return raised.value


def wrong(text: str) -> str:
    """The same id with another secret."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def test_who_has_a_key_is_let_in_as_its_holder(data_dir: Path) -> None:
    made = [make(data_dir), make(data_dir, role="admin", workspace=None)]
    keyring = Keyring(data_dir)
    assert keyring.required
    for key, text in made:
        assert keyring.authenticate(text, NOW) == key
        assert keyring.state(key.id, NOW) == "live"


def test_each_refusal_has_its_code_and_its_reason(data_dir: Path) -> None:
    key, text = make(data_dir)
    expiring, expiring_text = make(data_dir, expires_at=NOW + DAY_US)
    gone, gone_text = make(data_dir)
    revoke_key(data_dir, gone.id, NOW)
    keyring = Keyring(data_dir)
    for given, code, reason, key_id in (
        (None, "key_missing", "missing", None),
        ("", "key_missing", "missing", None),
        ("password", "key_invalid", "malformed", None),
        (UNKNOWN, "key_invalid", "unknown", "0badcafe"),
        (wrong(text), "key_invalid", "wrong", key.id),
        (wrong(expiring_text), "key_invalid", "wrong", expiring.id),
        (wrong(gone_text), "key_invalid", "wrong", gone.id),
        (expiring_text, "key_expired", "expired", expiring.id),
        (gone_text, "key_revoked", "revoked", gone.id),
    ):
        refusal = refused(keyring, given, NOW + DAY_US)
        assert (refusal.code, refusal.reason, refusal.key_id) == (code, reason, key_id)
        assert CODES[code].status == 401


def test_a_refusal_does_not_tell_an_unknown_key_from_a_wrong_secret(data_dir: Path) -> None:
    _, text = make(data_dir)
    keyring = Keyring(data_dir)
    told = {
        (refusal.code, refusal.message, str(refusal.fields), refusal.hint, str(refusal), repr(refusal))
        for refusal in (refused(keyring, given) for given in (wrong(text), UNKNOWN, "password"))
    }
    assert len(told) == 1


def test_secrets_are_compared_in_constant_time_also_when_there_is_no_such_key(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []

    def comparing(one: str, other: str) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    _, text = make(data_dir)
    keyring = Keyring(data_dir)
    monkeypatch.setattr(keys_module, "compare_digest", comparing)
    keyring.authenticate(text, NOW)
    refused(keyring, wrong(text))
    refused(keyring, UNKNOWN)
    assert len(compared) == 3
    assert {len(side) for pair in compared for side in pair} == {64}, "digests are compared, not secrets"


def test_an_empty_secret_opens_nothing(data_dir: Path) -> None:
    make(data_dir)
    assert refused(Keyring(data_dir), "tl_0badcafe_").reason == "malformed"
    assert not keys_module.is_secret("", None)


def test_no_key_text_is_in_any_error_or_log(data_dir: Path) -> None:
    _, text = make(data_dir)
    gone, gone_text = make(data_dir)
    revoke_key(data_dir, gone.id, NOW)
    with capture_logs() as logs:
        keyring = Keyring(data_dir)
        for given in (text, wrong(text), gone_text, UNKNOWN, text + "x"):
            try:
                keyring.authenticate(given, NOW)
            except KeyRefused as error:
                shown = f"{error!r} {error} {error.fields} {error.message} {error.hint} {error.copy()}"
                assert given[12:76] not in shown
        path_in(data_dir).write_text(text)
        keyring.refresh()
        assert keyring.failure is not None
    shown = f"{logs} {keyring!r} {keyring.failure!r} {keyring.failure.fields}"
    assert logs
    for secret in (text[12:], gone_text[12:], digest_of(text[12:])):
        assert secret not in shown


def test_a_change_is_taken_over_at_the_next_look(data_dir: Path) -> None:
    key, text = make(data_dir)
    keyring = Keyring(data_dir)
    assert not keyring.refresh()
    other, other_text = make(data_dir)
    assert refused(keyring, other_text).reason == "unknown"
    assert keyring.refresh()
    assert keyring.authenticate(other_text, NOW) == other
    revoke_key(data_dir, key.id, NOW)
    assert keyring.state(key.id, NOW) == "live"
    assert keyring.refresh()
    assert keyring.state(key.id, NOW) != "live"
    assert refused(keyring, text).code == "key_revoked"
    assert not keyring.refresh()


def test_every_change_of_another_process_is_noticed(data_dir: Path) -> None:
    make(data_dir)
    keyring = Keyring(data_dir)
    process = creator(data_dir, 30, "p")
    go(process)
    assert process.stdout is not None
    for line in process.stdout:
        keyring.refresh()
        assert line.strip() in keyring._keys  # pyright: ignore[reportPrivateUsage] -- what it knows of a revoked key
    process.communicate()


def test_a_look_without_a_change_reads_nothing(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(data_dir)
    keyring = Keyring(data_dir)
    monkeypatch.setattr("turnlog.service.key_file.read", lambda path: pytest.fail("it was read"))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType] -- whatever it is called with
    assert not keyring.refresh()


def test_a_key_ends_when_it_expires_without_any_look(data_dir: Path) -> None:
    key, _ = make(data_dir, expires_at=NOW + 5)
    keyring = Keyring(data_dir)
    assert keyring.state(key.id, NOW + 4) == "live"
    assert keyring.state(key.id, NOW + 5) != "live"
    assert keyring.state("0badcafe", NOW) != "live"


def test_without_any_key_ever_everybody_may_do_everything(data_dir: Path) -> None:
    keyring = Keyring(data_dir)
    assert not keyring.required
    assert not keyring.refresh()
    for text in (None, "", "password", UNKNOWN):
        assert keyring.authenticate(text, NOW) is ANYBODY
    assert keyring.state(ANYBODY.id, NOW) == "live"


def test_the_first_key_ends_that_also_for_who_is_in(data_dir: Path) -> None:
    keyring = Keyring(data_dir)
    key, text = make(data_dir)
    assert keyring.refresh()
    assert keyring.required
    assert keyring.state(ANYBODY.id, NOW) != "live"
    assert refused(keyring, None).code == "key_missing"
    assert keyring.authenticate(text, NOW) == key


def test_keys_that_come_and_go_between_two_looks_end_it_too(data_dir: Path) -> None:
    keyring = Keyring(data_dir)
    make(data_dir)
    path_in(data_dir).unlink()
    assert not keyring.refresh()
    assert keyring.failure is not None
    assert keyring.failure.code == "keys_damaged"
    assert refused(keyring, None).code == "key_missing"
    assert keyring.state(ANYBODY.id, NOW) != "live"


def test_when_the_last_key_is_revoked_nobody_gets_in(data_dir: Path) -> None:
    key, text = make(data_dir)
    keyring = Keyring(data_dir)
    revoke_key(data_dir, key.id, NOW)
    keyring.refresh()
    for ring in (keyring, Keyring(data_dir)):
        assert ring.required
        assert refused(ring, None).code == "key_missing"
        assert refused(ring, text).code == "key_revoked"
        assert ring.state(ANYBODY.id, NOW) != "live"


@pytest.mark.parametrize("content", DAMAGED)
def test_a_service_does_not_start_with_damaged_keys(content: bytes, data_dir: Path) -> None:
    path_in(data_dir).write_bytes(content)
    path_in(data_dir).chmod(0o600)
    with pytest.raises(Damaged) as raised:
        Keyring(data_dir)
    assert raised.value.code == "keys_damaged"


def test_a_service_does_not_start_with_keys_that_others_may_read(data_dir: Path) -> None:
    make(data_dir)
    path_in(data_dir).chmod(0o640)
    with pytest.raises(Refused) as raised:
        Keyring(data_dir)
    assert raised.value.code == "keys_exposed"


def overwrite(path: Path) -> None:
    path.write_text("damaged")


def unlink(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


def expose(path: Path) -> None:
    path.chmod(0o644)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


@pytest.mark.parametrize("harm", [overwrite, unlink, empty, expose, replace_by_directory])
def test_harm_during_the_run_keeps_the_last_good_keys_and_is_told_once(
    harm: Callable[[Path], None], data_dir: Path
) -> None:
    key, text = make(data_dir)
    gone, gone_text = make(data_dir)
    revoke_key(data_dir, gone.id, NOW)
    keyring = Keyring(data_dir)
    whole = path_in(data_dir).read_bytes()
    harm(path_in(data_dir))
    with capture_logs() as logs:
        for _ in range(3):
            assert not keyring.refresh()
    assert isinstance(keyring.failure, TurnlogError)
    told = [(line["event"], line["code"], line["log_level"]) for line in logs]
    assert told == [("keys_not_read", keyring.failure.code, "error")]
    assert keyring.required
    assert keyring.authenticate(text, NOW) == key
    assert refused(keyring, gone_text).code == "key_revoked"
    assert refused(keyring, None).code == "key_missing"
    assert keyring.state(ANYBODY.id, NOW) != "live"
    _restore(path_in(data_dir), whole)
    with capture_logs() as logs:
        assert keyring.refresh()
    assert keyring.failure is None
    assert [line["event"] for line in logs] == ["keys_read_again"]
    assert keyring.authenticate(text, NOW) == key


def _restore(path: Path, content: bytes) -> None:
    if path.is_dir():
        path.rmdir()
    path.write_bytes(content)
    path.chmod(0o600)


def test_harm_before_the_first_key_does_not_open_the_service(data_dir: Path) -> None:
    keyring = Keyring(data_dir)
    overwrite(path_in(data_dir))
    path_in(data_dir).chmod(0o600)
    assert not keyring.refresh()
    assert keyring.failure is not None
    assert keyring.required, "somebody made a key: that it cannot be read is no reason to let everybody in"
    assert refused(keyring, None).code == "key_missing"


def test_a_stat_that_fails_is_told_too(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = make(data_dir)
    keyring = Keyring(data_dir)

    def fails(*arguments: Any, **more: Any) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", fails)
        assert not keyring.refresh()
    assert keyring.failure is not None
    assert keyring.failure.code == "storage_failed"
    assert keyring.authenticate(text, NOW) == key
