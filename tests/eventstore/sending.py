"""An append up to the writer's door: checked, packed, encoded; or refused."""

from __future__ import annotations

from typing import Any

import pytest
from samples import C

from eventstore.commits import Append
from eventstore.errors import Refused
from eventstore.request import Request, make_request


def sent(append: Append) -> Request:
    """An append on its way to the writer: checked, packed, encoded."""
    return make_request(append, None)


def refusal(*events: object, **fields: Any) -> tuple[str, str]:
    """Code and message with which it is refused."""
    append = Append(C, events, **fields)  # pyright: ignore[reportArgumentType] -- what is no event is the test
    with pytest.raises(Refused) as refused:
        sent(append)
    assert all(isinstance(value, (str, int)) for value in refused.value.fields.values())
    return refused.value.code, refused.value.message
