"""The write models in memory: those that were used last, as many as fit."""

from __future__ import annotations

from typing import Final

from eventstore import process
from eventstore.context import WriteModel
from eventstore.limits import SPARED_MODELS_BYTES_MAX, WRITE_MODELS_BYTES_MAX

MODEL_BYTES: Final = 1_024
"""Memory of a write model with one branch, as measured."""

ENTRY_BYTES: Final = 640
"""Memory of one more branch with the longest name, as measured; an open stream takes less than half of it."""


class Models:
    """Write models by the 16 bytes of their context's id, together at most ``WRITE_MODELS_BYTES_MAX``.

    In a process that ``spares`` memory it is ``SPARED_MODELS_BYTES_MAX``. Those that were put longest ago
    leave first; they are loaded anew when they are needed. A model that has gained or lost branches, streams
    or metadata is put again.
    """

    def __init__(self) -> None:
        self._models: dict[bytes, WriteModel] = {}
        self._sizes: dict[bytes, int] = {}
        self._bytes = 0

    def get(self, context_key: bytes) -> WriteModel | None:
        """The model, if it is here."""
        return self._models.get(context_key)

    def put(self, context_key: bytes, model: WriteModel) -> None:
        """Keep a model, in the place of the one before."""
        if context_key in self._models:
            self._drop(context_key)
        size = size_of(model)
        bytes_max = SPARED_MODELS_BYTES_MAX if process.spares else WRITE_MODELS_BYTES_MAX
        while self._models and self._bytes + size > bytes_max:
            self._drop(next(iter(self._models)))
        self._models[context_key], self._sizes[context_key] = model, size
        self._bytes += size

    def clear(self) -> None:
        """Keep none."""
        self._models.clear()
        self._sizes.clear()
        self._bytes = 0

    def _drop(self, context_key: bytes) -> None:
        del self._models[context_key]
        self._bytes -= self._sizes.pop(context_key)


def size_of(model: WriteModel) -> int:
    """The most memory that a model takes, within a tenth."""
    return MODEL_BYTES + ENTRY_BYTES * (len(model.branches) + len(model.streams)) + len(model.metadata)
