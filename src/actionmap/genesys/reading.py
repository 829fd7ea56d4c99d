"""Files → resources: ``*.tf``, Terraform's ``*.tf.json``, and exports of data actions (``*.json``).

The keys of an export were taken from exported files (``name integrationType secure config contract``); they are put
under the names that the provider's ``integration_action`` has for the same things.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actionmap.errors import DefinitionError, Finding
from actionmap.genesys.hcl import BadSource, plain, read_hcl, read_json

MAX_FILE_BYTES = 4 * 1024 * 1024
DATA_ACTION = "genesyscloud_integration_action"
SEGMENT = "genesyscloud_journey_segment"
ACTION_MAP = "genesyscloud_journey_action_map"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a tenant: its type and label, and its fields with Terraform's names."""

    file: str
    type: str
    label: str
    body: dict[str, Any] = field(repr=False)

    @property
    def address(self) -> str:
        """By which others refer to it."""
        return f"{self.type}.{self.label}"


def read(paths: Iterable[Path]) -> list[Resource]:
    """The resources of files, and of the ``*.tf`` and ``*.json`` below folders.

    Raises:
        DefinitionError: a path is not there, or a file cannot be read; all findings at once.
        SettingsError: the library that reads Terraform is not installed.
    """
    found: list[Resource] = []
    findings: list[Finding] = []
    for file in _files(paths, findings):
        try:
            found.extend(_resources(file))
        except (BadSource, OSError) as error:
            message = str(error) if isinstance(error, BadSource) else f"cannot be read: {error.strerror}"
            findings.append(Finding(file=str(file), message=message))
    if not found and not findings:
        findings.append(Finding(message="there is nothing to import: no resource in *.tf, no data action in *.json"))
    if findings:
        raise DefinitionError(findings)
    return found


def _files(paths: Iterable[Path], findings: list[Finding]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.suffix in (".tf", ".json") and file.is_file())
            yield from sorted(file for file in inside if ".terraform" not in file.parts)
        elif path.is_file():
            yield path
        else:
            findings.append(Finding(message=f"there is no {path}"))


def _resources(file: Path) -> Iterator[Resource]:
    text = _text(file)
    if file.suffix != ".json":
        yield from _of_terraform(read_hcl(text), str(file))
        return
    data = read_json(text)
    if isinstance(data, dict) and isinstance(data.get("resource"), dict | list):
        yield from _of_terraform(plain(data), str(file))
    elif _is_data_action(data):
        yield Resource(str(file), DATA_ACTION, str(data["name"]), _with_terraform_names(data))
    else:
        yield Resource(str(file), "", file.name, {})


def _text(file: Path) -> str:
    if file.stat().st_size > MAX_FILE_BYTES:
        raise BadSource(f"larger than {MAX_FILE_BYTES:,} bytes")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadSource("is not UTF-8") from None


def _of_terraform(data: dict[str, Any], file: str) -> Iterator[Resource]:
    for types in blocks(data, "resource"):
        for type_, labels in types.items():
            for named in labels if isinstance(labels, list) else [labels]:
                for label, body in named.items() if isinstance(named, dict) else ():
                    one = body[0] if isinstance(body, list) and body else body
                    yield Resource(file, type_, label, one if isinstance(one, dict) else {})


def blocks(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The blocks called ``name``, written once or several times."""
    written = body.get(name)
    several = written if isinstance(written, list) else [written]
    return [block for block in several if isinstance(block, dict)]


def block(body: dict[str, Any], name: str) -> dict[str, Any]:
    """The first block called ``name``, or an empty one."""
    return next(iter(blocks(body, name)), {})


def _is_data_action(data: Any) -> bool:
    return isinstance(data, dict) and "name" in data and isinstance(data.get("contract"), dict)


def _with_terraform_names(data: dict[str, Any]) -> dict[str, Any]:
    contract, config = block(data, "contract"), block(data, "config")
    request, response = block(config, "request"), block(config, "response")
    body: dict[str, Any] = {
        "name": data["name"],
        "category": data.get("category", ""),
        "integration_type": data.get("integrationType", ""),
        "secure": data.get("secure", False),
        "contract_input": block(contract, "input").get("inputSchema"),
        "contract_output": block(contract, "output").get("successSchema", {}),
        "config_timeout_seconds": config.get("timeoutSeconds"),
        "config_request": {
            "request_url_template": request.get("requestUrlTemplate"),
            "request_type": request.get("requestType"),
            "request_template": request.get("requestTemplate"),
            "headers": request.get("headers") or {},
        },
        "config_response": {
            "translation_map": response.get("translationMap") or {},
            "translation_map_defaults": response.get("translationMapDefaults") or {},
            "success_template": response.get("successTemplate"),
        },
    }
    known = {"name", "category", "integrationType", "secure", "contract", "config", "actionType", "id", "version",
             "selfUri", "integrationId"}  # fmt: skip
    return body | {name: value for name, value in data.items() if name not in known}
