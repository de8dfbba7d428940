"""Results that outlive an interrupted run: one file each, with the settings it came of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mfal.data.files import write_text


def kept(
    file: Path, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The result in the file if it was computed with these settings, else computed now."""
    if file.exists():
        found = json.loads(file.read_text())
        if found["settings"] == settings:
            return found
    found = {"settings": settings, **compute()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(found) + "\n")
    print(f"{file.name}: done", flush=True)
    return json.loads(file.read_text())
