"""Terraform's HCL2, and its JSON form, as plain values; what Terraform would compute stays an `Expression`.

Nothing is evaluated but ``jsonencode`` of what is written out: an export holds literals and references.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from actionmap.errors import SettingsError

#: Deeper files are refused, before what walks through them comes to its end.
MAX_DEPTH = 100
_HEREDOC = re.compile(r'"<<(-?)\s*(\w+)\n(.*)\n?[ \t]*\2\s*"', re.DOTALL)
_JSONENCODE = re.compile(r"jsonencode\((.*)\)", re.DOTALL)
_CONSTANT = re.compile(r"-?[0-9]+(\.[0-9]+)?|true|false|null")
_ESCAPE = re.compile(r'\\(n|r|t|"|\\|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})')
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_OWN = re.compile(r"__\w+__")


class BadSource(ValueError):
    """A text that is no HCL2 or no JSON; the message says where."""


@dataclass(frozen=True, slots=True)
class Expression:
    """What Terraform would compute, as it is written: a reference, a variable, a function."""

    text: str

    def __str__(self) -> str:
        return self.text


def read_hcl(text: str) -> dict[str, Any]:
    """The blocks and attributes of a ``.tf`` file.

    Raises:
        BadSource: ``text`` is no HCL2, or nested too deep.
        SettingsError: the library that reads it is not installed.
    """
    try:
        value = plain(_parse(text))
    except RecursionError:
        raise BadSource(f"nested more than {MAX_DEPTH} levels deep") from None
    _check_depth(value)
    assert isinstance(value, dict)
    return value


def read_json(text: str) -> Any:
    """The value of a ``.json`` file, as it stands there.

    Raises:
        BadSource: ``text`` is no JSON, or nested too deep.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise BadSource(f"nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:
        raise BadSource(f"no JSON: {error}") from None
    _check_depth(value)
    return value


def plain(value: Any) -> Any:
    """What the parser of HCL2 gave, or Terraform's JSON, without quotes, escapes and marks of the parser's own."""
    if isinstance(value, dict):
        return {_without_quotes(key): plain(inner) for key, inner in value.items() if not _OWN.fullmatch(key)}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if heredoc := _HEREDOC.fullmatch(value):
        return _template(_dedented(heredoc[3]) if heredoc[1] else heredoc[3])
    if len(value) > 1 and value[0] == value[-1] == '"':
        return _template(_ESCAPE.sub(_unescaped, value[1:-1]))
    return _template(value)


def _parse(text: str) -> Any:
    try:
        import hcl2  # noqa: PLC0415 - an extra, which only this needs
        from lark.exceptions import LarkError  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            "reading Terraform takes python-hcl2, which is not installed: pip install 'actionmap[genesys]'"
        ) from None
    try:
        return hcl2.loads(text if text.endswith("\n") else f"{text}\n")
    except (LarkError, ValueError, RecursionError) as error:
        line = getattr(error, "line", None)
        place = f" in line {line}" if isinstance(line, int) and line > 0 else ""
        raise BadSource(
            f"no Terraform (HCL2){place}: {str(error).splitlines()[0][:200] if str(error) else 'too deep'}"
        ) from None


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return
    raise BadSource(f"nested more than {MAX_DEPTH} levels deep")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _without_quotes(key: str) -> str:
    return key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] not in "uU":
        return _ESCAPED[code]
    number = int(code[1:], 16)
    return chr(number) if number < 0xD800 or 0xDFFF < number < 0x110000 else "\ufffd"


def _dedented(text: str) -> str:
    lines = text.split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)


def _template(text: str) -> Any:
    """A text of Terraform: ``$${`` is ``${``; one that holds ``${`` is an expression."""
    rest = text.replace("$${", "").replace("%%{", "")
    if "${" not in rest and "%{" not in rest:
        return text.replace("$${", "${").replace("%%{", "%{")
    if text.startswith("${") and text.endswith("}") and rest.count("${") == 1:
        return _computed(text[2:-1].strip())
    # A document such as jsonencode({…}) may hold texts with ${ of their own.
    if text.startswith("${jsonencode(") and text.endswith(")}"):
        return _computed(text[2:-1])
    return Expression(text)


def _computed(inner: str) -> Any:
    if _CONSTANT.fullmatch(inner):
        return json.loads(inner)
    if encoded := _JSONENCODE.fullmatch(inner):
        try:
            return plain(_parse(f"x = {encoded[1]}"))["x"]
        except (BadSource, KeyError):
            return Expression(inner)
    return Expression(inner)
