"""The go-live check as JUnit XML, which pipelines read: a suite for each action map, a case for each check."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

#: What XML 1.0 cannot hold, however it is written.
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(results: Sequence[Mapping[str, Any]]) -> str:
    """JUnit XML of ``results``, each as `GoLive.as_json` has it.

    A check that fails is a failure with its fix, one that is skipped is skipped, and one that warns passes and says so.
    """
    suites = ElementTree.Element("testsuites", {"name": "actionmap go-live"} | _counts(_all_checks(results)))
    for result in results:
        name = str(result["actionMap"])
        suite = ElementTree.SubElement(suites, "testsuite", {"name": name} | _counts(result["checks"]))
        for check in result["checks"]:
            case = ElementTree.SubElement(suite, "testcase", {"classname": f"golive.{name}", "name": check["name"]})
            _tell(case, check)
    ElementTree.indent(suites)
    written = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{written}\n'


def _all_checks(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [check for result in results for check in result["checks"]]


def _counts(checks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found = Counter(check["status"] for check in checks)
    return {"tests": str(found.total()), "failures": str(found["fail"]), "errors": "0", "skipped": str(found["skip"])}


def _tell(case: ElementTree.Element, check: Mapping[str, Any]) -> None:
    message, fix = _text(check["message"]), _text(check["fix"])
    match check["status"]:
        case "fail":
            failure = ElementTree.SubElement(case, "failure", {"message": message, "type": "go-live"})
            failure.text = f"{message}\nfix: {fix}"
        case "skip":
            ElementTree.SubElement(case, "skipped", {"message": message})
        case "warn":
            ElementTree.SubElement(case, "system-out").text = f"warning: {message}\nfix: {fix}"
        case _:
            """What passes says nothing."""


def _text(text: object) -> str:
    return _NO_XML.sub("\ufffd", str(text))
