"""The child process that durable-rules runs in, as its parent sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actionmap.errors import ActionmapError

#: A rule set that takes longer to make hangs; an event may take ten times as long.
TIMEOUT_S = 2.0


class Died(ActionmapError):
    """The child process has ended: the engine crashed, or took too long."""


class Child:
    """A child process with durable-rules in it; after it died, the next request starts another with the same rules."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        """Raises ActionmapError when durable-rules is not installed."""
        if find_spec("durable_rules_engine") is None:
            raise ActionmapError(
                "the second opinion needs durable-rules: pip install 'actionmap[durable]' "
                "(Python before 3.13, and a C compiler)"
            )
        self._timeout_s = timeout_s
        self._rulesets: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def attempt(self, rules: str) -> str | None:
        """What goes wrong when the rule set ``rules`` is made; None when nothing does."""
        answer: str | None = self._ask({"try": rules})
        return answer

    def load(self, rules: str) -> None:
        """Take up the rule set ``rules`` for good.

        Raises:
            Died: although it was tried.
        """
        self._ask({"load": rules})
        self._rulesets.append(rules)

    def fired(self, facts: Sequence[str]) -> list[list[str] | str]:
        """For each rule set, in their order: names of the rules that its fact fires, or what went wrong.

        Raises:
            Died: this event was too much for the engine.
        """
        answer: list[list[str] | str] = self._ask({"facts": facts})
        return answer

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, request: Any) -> Any:
        if self._process is None:
            self._start()
        return self._send(request)

    def _start(self) -> None:
        command = [sys.executable, "-P", str(Path(__file__).with_name("child.py")), str(self._timeout_s)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own
        for rules in self._rulesets:
            self._send({"load": rules})

    def _send(self, request: Any) -> Any:
        assert self._process is not None
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            status = self._process.wait()
            self.close()
            raise Died(f"durable-rules ended its process ({status})")
        return json.loads(line)
