"""The scripts that run inside of the store; a line ``-- include: FILE`` stands for what that file says."""

from __future__ import annotations

import re
from importlib.resources import files

_INCLUDE = re.compile(r"^-- include: (\w+\.lua)\n", re.MULTILINE)
_FOLDER = files(__package__) / "lua"


def script(name: str) -> str:
    """The text of the script ``name``."""
    text = (_FOLDER / f"{name}.lua").read_text()
    return _INCLUDE.sub(lambda found: (_FOLDER / found[1]).read_text(), text)
