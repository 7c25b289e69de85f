"""How measurements are told: a line for each, with what was wanted and the machine above."""

from __future__ import annotations

import json
import os
import platform

Result = dict[str, float | str | bool]
"""``value``, ``target``, ``better`` (higher or lower), and what else was seen."""

Results = dict[str, Result]


def tell(results: Results, yardstick: str, *, as_json: bool) -> None:
    """Print them."""
    if as_json:
        print(json.dumps(results, indent=2))
        return
    machine = f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    print(f"{machine} on {yardstick}")
    for name, result in results.items():
        details = ", ".join(
            f"{key} {value:,.1f}" if value < 100 else f"{key} {value:,.0f}"
            for key, value in result.items()
            if isinstance(value, float) and key != "value"
        )
        value, target = result["value"], result["target"]
        assert isinstance(value, (int, float))
        shown = f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
        print(f"{name:45} {shown:>12}   target {target!s:>8}   {details}")
