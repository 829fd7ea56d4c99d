"""The process that durable-rules runs in: a JSON request a line in, a JSON answer a line out.

Run by its path, so that it loads nothing of actionmap. Rule sets may hang or crash this engine, at their making or at
an event: so each request has a time-out that ends the whole process, and rule sets are first tried in a fork.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

import durable_rules_engine as engine  # the C binding: durable.lang starts threads that walk all state

#: Rule sets come to about 12 KB a rule and session.
_MEMORY = 4 << 30
#: The one session there is: more than 1,023 would end the process.
_SESSION = "1"


class Rulesets:
    """The rule sets of this process, in the order in which they were loaded."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._handles: list[Any] = []

    def answer(self, request: dict[str, Any]) -> Any:
        """Do what one request asks for."""
        match request:
            case {"try": rules}:
                return self._try(rules)
            case {"load": rules}:
                self._handles.append(engine.create_ruleset(f"r{len(self._handles)}", rules))
                return None
            case {"facts": facts}:
                return [_fired(handle, fact) for handle, fact in zip(self._handles, facts, strict=True)]

    def _try(self, rules: str) -> str | None:
        """Make a rule set, and show it one fact, in a fork; answers what went wrong."""
        child = os.fork()
        if not child:
            signal.setitimer(signal.ITIMER_REAL, self._timeout_s)
            try:
                handle = engine.create_ruleset("trial", rules)
                _fired(handle, f'{{"id": "t", "sid": "{_SESSION}", "on": 1}}')
            except BaseException:
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            hung = os.WTERMSIG(status) == signal.SIGALRM
            return "it does not end" if hung else f"it ends the process ({signal.Signals(os.WTERMSIG(status)).name})"
        return "it is refused" if os.WEXITSTATUS(status) else None


def _fired(handle: Any, fact: str) -> list[str] | str:
    """Names of the rules that one fact fires, each once; or what went wrong."""
    fired: set[str] = set()
    try:
        status, state = engine.assert_fact(handle, fact)
        if status > 1:
            return f"the fact was not taken ({status})"
        found = engine.start_action_for_state(handle, state) if status == 0 else None
        message = found[1] if found else None
        while message:
            fired.update(json.loads(message))
            message = engine.complete_and_start_action(handle, state)
    except Exception as error:
        return str(error)
    finally:
        engine.retract_fact(handle, fact)
    return sorted(fired)


def serve(requests: BinaryIO, answers: BinaryIO, timeout_s: float) -> None:
    """Answer requests until there are no more."""
    rulesets = Rulesets(timeout_s)
    for line in requests:
        signal.setitimer(signal.ITIMER_REAL, 10 * timeout_s)
        answer = rulesets.answer(json.loads(line))
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def main() -> None:
    """Serve stdin and stdout; the time-out in seconds is the argument."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whatever the engine prints is no answer.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, answers, float(sys.argv[1]))


if __name__ == "__main__":
    main()
