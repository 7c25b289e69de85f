"""Text for people: what a model wrote made safe to print, and numbers, spans and ids made short.

Nothing that came from outside reaches a terminal but through ``clean``: it could move the cursor, rename the
window, or turn the direction of the line.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from rich.cells import cell_len, set_cell_size
from rich.text import Text

SHORT_ID_CHARACTERS: Final = 8
"""Of an id in a table: its end, because ids made in one moment begin alike."""

_REPLACEMENT: Final = "\ufffd"
_CONTROL_PICTURES: Final = 0x2400
_UNSAFE: Final[dict[int, str]] = {
    **{code: chr(_CONTROL_PICTURES + code) for code in range(0x20)},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), _REPLACEMENT),
    # Marks that change the direction of what follows them.
    **dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), _REPLACEMENT),
    **dict.fromkeys(range(0xD800, 0xE000), _REPLACEMENT),
    0x2028: "\n",
    0x2029: "\n",
    ord("\n"): "\n",
    ord("\t"): "    ",
}


def clean(text: str) -> str:
    """The text without anything a terminal obeys; line ends stay, tabs become spaces.

    Other control characters show as their pictures, such as ␛ for escape.
    """
    if text.isascii() and text.isprintable():
        return text
    return text.replace("\r\n", "\n").translate(_UNSAFE)


def one_line(text: str, width: int | None = None) -> str:
    """The text, cleaned, on one line of at most ``width`` cells; all of it when that is None."""
    if width is not None:
        text = text[: 8 * width + 80]  # beyond this nothing can show
    line = " ".join(clean(text).split())
    if width is None or cell_len(line) <= width:
        return line
    return set_cell_size(line, max(width - 1, 0)).rstrip() + "…"


def styled(text: str, style: str) -> Text:
    """Text whose style ends with it: what is appended has its own."""
    return Text.assemble((text, style))


def short(identifier: UUID) -> str:
    """The end of an id."""
    return identifier.hex[-SHORT_ID_CHARACTERS:]


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 chunk``, ``1,249 chunks``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(microseconds: float) -> str:
    """``85 ms``, ``4.18 s``, ``2 min 5 s``, ``3 h 20 min``, ``12 days``."""
    seconds = microseconds / 1_000_000
    if round(seconds, 3) < 1:
        return f"{seconds * 1_000:.0f} ms"
    if round(seconds, 2) < 60:
        return f"{seconds:.2f} s"
    seconds = round(seconds)
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min {seconds % 60} s"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} days"


def ago(then_us: int, now_us: int) -> str:
    """``just now``, ``3 min ago``, ``2 days ago``. Clocks differ: what lies ahead is just now."""
    seconds = max(now_us - then_us, 0) // 1_000_000
    for size, noun in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{count(seconds // size, noun)} ago"
    return "just now" if seconds < 5 else f"{seconds} s ago"


def size(octets: int) -> str:
    """``512 B``, ``1.4 MiB``."""
    amount = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
