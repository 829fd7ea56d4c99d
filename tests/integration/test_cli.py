"""The command as people run it: a process of its own, its exit code, and what it says on which stream."""

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from commands import Run, command_line
from support import event, rules

COMMANDS = [
    (), ("demo",), ("dev",), ("run",), ("serve",), ("send",), ("plan",), ("apply",), ("export",), ("lint",),
    ("check-golive",), ("simulate",), ("test",), ("explain",), ("status",), ("openapi",),
    ("deliveries",), ("deliveries", "list"), ("deliveries", "show"), ("deliveries", "replay"), ("webhooks", "test"),
    ("dead-letters",), ("dead-letters", "list"),
]  # fmt: skip
NOWHERE = "127.0.0.1:1"
FIRST_FOUR = ["webhook-published", "action-map-active", "integration-active", "data-action-published"]


@pytest.fixture(scope="module")
def actionmap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a command; an error of it is one message and never a traceback."""
    with command_line(tmp_path_factory.mktemp("streams")) as run:

        def checked(*args: str, **more: Any) -> subprocess.CompletedProcess[str]:
            done = run(*args, **more)
            assert "Traceback" not in done.stderr + done.stdout, done.stderr
            return done

        yield checked


def failed(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """It could not be asked, and says so on standard error alone, with all of ``said``."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    for text in said:
        assert text in done.stderr


def write(folder: Path, documents: list[dict[str, Any]], name: str = "rules.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(yaml.safe_dump_all(documents))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "rules", rules())
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_tells_what_it_does(actionmap: Run, command: tuple[str, ...], tmp_path: Path) -> None:
    done = actionmap(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
    assert "--help" in done.stdout
    assert done.stderr == ""


# --- asked of files


def test_lint_says_yes_to_good_definitions_and_no_to_bad_ones_with_file_and_line(actionmap: Run, folder: Path) -> None:
    good = actionmap("lint", "rules", cwd=folder)
    assert (good.returncode, good.stdout) == (0, "5 definitions, 0 errors, 0 warnings\n")

    write(folder / "rules", [{**rules()[3], "name": "odd", "action": {"webhook": "tell-shp"}}], "odd.yaml")
    bad = actionmap("lint", "rules", cwd=folder)
    assert bad.returncode == 1
    assert "rules/odd.yaml:2: error: ActionMap odd: action.webhook: there is no Webhook 'tell-shp'" in bad.stdout
    assert "tell-shop" in bad.stdout


def test_lint_warns_and_with_strict_says_no(actionmap: Run, folder: Path) -> None:
    write(folder / "rules", [{**rules()[3], "name": "ended", "endDate": "2020-01-01T00:00:00Z"}], "ended.yaml")
    lenient = actionmap("lint", "rules", cwd=folder)
    assert lenient.returncode == 0
    assert "ended.yaml" in lenient.stdout
    assert "warning" in lenient.stdout
    assert actionmap("lint", "rules", "--strict", cwd=folder).returncode == 1


def test_broken_yaml_is_told_by_file_and_line(actionmap: Run, folder: Path) -> None:
    (folder / "rules" / "broken.yaml").write_text("kind: Segment\nname: [a\nwhen: {key: a}\n")
    done = actionmap("lint", "rules", cwd=folder)
    assert done.returncode == 1
    assert "rules/broken.yaml:3: error: " in done.stdout
    for command in (("check-golive", "--rules", "rules"), ("simulate", "rules", "--events", "e")):
        failed(actionmap(*command, cwd=folder), "rules/broken.yaml:3: error: ")


def test_a_folder_that_is_not_there_cannot_be_asked(actionmap: Run, tmp_path: Path) -> None:
    for command in (("lint", "rulez"), ("check-golive", "--rules", "rulez"), ("plan", "rulez"),
                    ("simulate", "rulez", "--events", "e"), ("demo", "--rules", "rulez")):  # fmt: skip
        failed(actionmap(*command, cwd=tmp_path), "rulez")


def test_check_golive_of_files_answers_for_each_active_map_in_the_promised_form(actionmap: Run, folder: Path) -> None:
    done = actionmap("check-golive", "--rules", "rules", "--format", "json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [(one["actionMap"], one["ready"]) for one in found] == [("each-order", True), ("first-visit", True)]
    for one in found:
        assert set(one) == {"actionMap", "ready", "checks"}
        assert [check["name"] for check in one["checks"]][:4] == FIRST_FOUR
        for check in one["checks"]:
            assert set(check) == {"name", "status", "message", "fix"}
            assert check["status"] in ("pass", "fail", "warn", "skip")
        skipped = {check["name"] for check in one["checks"] if check["status"] == "skip"}
        assert skipped == {"store-durable", "integration-well", "lookups-resolved", "no-newer-draft", "breaker-closed",
                           "endpoint-reachable", "consumer-alive"}  # fmt: skip


def test_pipelines_read_check_golive_as_junit_xml_and_nothing_else(actionmap: Run, folder: Path) -> None:
    done = actionmap("check-golive", "--rules", "rules", "--format", "junit", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert [suite.get("name") for suite in ElementTree.fromstring(done.stdout.encode())] == [
        "each-order",
        "first-visit",
    ]
    failed(actionmap("check-golive", "--rules", "rules", "--probe", cwd=folder), "--probe asks the server")


@pytest.mark.parametrize(
    ("index", "change", "check"),
    [(2, {"state": "draft"}, 0), (2, {"state": "archived"}, 0), (3, {"active": False}, 1), (0, {"active": False}, 2),
     (1, {"state": "draft"}, 3)],
)  # fmt: skip
def test_check_golive_says_no_when_one_of_the_four_is_missing_and_how_to_mend_it(
    actionmap: Run, index: int, change: dict[str, Any], check: int, tmp_path: Path
) -> None:
    changed = rules()
    changed[index] |= change
    write(tmp_path / "rules", changed)
    done = actionmap("check-golive", "each-order", "--rules", "rules", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1
    (found,) = json.loads(done.stdout)
    assert not found["ready"]
    assert [one["name"] for one in found["checks"] if one["status"] == "fail"] == [FIRST_FOUR[check]]
    assert found["checks"][check]["fix"]


def test_check_golive_without_an_active_map_says_no(actionmap: Run, tmp_path: Path) -> None:
    write(tmp_path / "rules", rules()[:3])
    done = actionmap("check-golive", "--rules", "rules", "--format", "json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (1, [])
    assert "no active action map" in done.stderr


def test_check_golive_of_an_unknown_map_cannot_be_asked_and_names_the_nearest(actionmap: Run, folder: Path) -> None:
    failed(actionmap("check-golive", "each-ordr", "--rules", "rules", cwd=folder), "each-ordr", "each-order")


def test_simulate_prints_one_json_line_a_firing_and_nothing_else(actionmap: Run, folder: Path) -> None:
    lines = [
        event("b", eventId="3", timestamp="2026-01-01T00:00:09Z", attributes={"n": 3}),
        b"no event",
        event("a", eventId="1", timestamp="2026-01-01T00:00:01.5Z", attributes={"n": 1}),
        event("a", timestamp="2026-01-01T00:00:02Z"),
        event("a", "nothing", timestamp="2026-01-01T00:00:03Z"),
        event("a"),
    ]
    (folder / "events.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    done = actionmap("simulate", "rules", "--events", "events.jsonl.gz", "--format", "jsonl", cwd=folder)
    assert done.returncode == 0
    firings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["visitorId"], one["eventId"], one["at"]) for one in firings] == [
        ("a", "1", "2026-01-01T00:00:01.500Z"),
        ("a", "events.jsonl.gz/0/4", "2026-01-01T00:00:02.000Z"),
        ("b", "3", "2026-01-01T00:00:09.000Z"),
    ]
    assert set(firings[0]) == {"actionMap", "visitorId", "eventId", "at", "request"}
    assert set(firings[0]["request"]) == {"method", "url", "headers", "body"}
    assert firings[0]["request"]["url"] == "https://shop.example.com/told"
    assert json.loads(firings[0]["request"]["body"]) == {"n": 1, "visitor": "a"}
    assert "events.jsonl.gz:2: malformed-json" in done.stderr
    assert "events.jsonl.gz:6: no-timestamp" in done.stderr


@pytest.mark.parametrize("content", [None, gzip.compress(b"x" * 1000)[:-10], b"\x1f\x8bnonsense"])
def test_events_that_cannot_be_read_cannot_be_simulated(actionmap: Run, content: bytes | None, folder: Path) -> None:
    if content is not None:
        (folder / "e.gz").write_bytes(content)
    failed(actionmap("simulate", "rules", "--events", "e.gz", cwd=folder), "cannot read e.gz")


def test_simulate_against_another_folder_shows_what_fires_differently(actionmap: Run, folder: Path) -> None:
    changed = rules()
    changed[3]["mode"] = "shadow"
    write(folder / "changed", changed)
    (folder / "events.jsonl").write_bytes(event("a", eventId="1", timestamp="2026-01-01T00:00:01Z"))
    asked = ("simulate", "changed", "--against", "rules", "--events", "events.jsonl")
    done = actionmap(*asked, "--format", "jsonl", cwd=folder)
    assert done.returncode == 1
    [difference] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (difference["change"], difference["actionMap"], difference["eventId"]) == ("disappears", "each-order", "1")
    assert "0 firings, 1 before: 0 appear, 1 disappear, 0 change; 1 visitors" in actionmap(*asked, cwd=folder).stdout
    same = actionmap("simulate", "rules", "--against", "rules", "--events", "events.jsonl", cwd=folder)
    assert same.returncode == 0


def test_simulate_shows_the_firings_of_shadow_maps_when_asked(actionmap: Run, tmp_path: Path) -> None:
    shadow = rules()
    shadow[3]["mode"] = "shadow"
    write(tmp_path / "rules", shadow)
    (tmp_path / "events.jsonl").write_bytes(event("a", eventId="1", timestamp="2026-01-01T00:00:01Z"))
    asked = ("simulate", "rules", "--events", "events.jsonl", "--format", "jsonl")
    assert actionmap(*asked, cwd=tmp_path).stdout == ""
    [firing] = actionmap(*asked, "--shadow", cwd=tmp_path).stdout.splitlines()
    assert (json.loads(firing)["actionMap"], json.loads(firing)["mode"]) == ("each-order", "shadow")


CASE = """
- name: an order
  events: [{eventId: one, eventName: order, visitorId: a, timestamp: "2026-01-01T00:00:01Z"}]
  fires: [{actionMap: each-order, visitorId: a, eventId: %s}]
"""


def test_test_runs_the_cases_beside_the_rules(actionmap: Run, folder: Path) -> None:
    failed(actionmap("test", "rules", cwd=folder), "there are no test cases")
    (folder / "rules" / "shop.cases.yaml").write_text(CASE % "one")
    done = actionmap("test", "rules", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "1 of 1 cases passed\n")
    (folder / "rules" / "shop.cases.yaml").write_text(CASE % "two")
    done = actionmap("test", "rules", cwd=folder)
    assert done.returncode == 1
    assert "rules/shop.cases.yaml:4: error: an order: each-order for a at two did not fire" in done.stdout
    assert "0 of 1 cases passed" in done.stdout


def test_explain_asks_files_about_an_event(actionmap: Run, folder: Path) -> None:
    (folder / "event.json").write_bytes(event("a", "visit", attributes={"n": 3}))
    asked = ("explain", "--rules", "rules", "--event", "event.json")
    done = actionmap(*asked, "--map", "each-order", cwd=folder)
    assert done.returncode == 0
    assert "each-order: condition-false" in done.stdout
    assert 'the event is order; seen: "visit"' in done.stdout
    found = json.loads(actionmap(*asked, "--map", "each-order", "--format", "json", cwd=folder).stdout)
    assert (found["verdict"]["reason"], found["short"], found["trigger"]["kind"]) == ("condition-false", 1, "event")
    assert [one["actionMap"] for one in json.loads(actionmap(*asked, "--format", "json", cwd=folder).stdout)]
    (folder / "event.json").write_bytes(event("a", "visit") + b"\n" + event("a"))
    assert "each-order: fired" in actionmap(*asked, "--map", "each-order", cwd=folder).stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "give either --visitor ID or --event FILE"),
        (("--visitor", "a", "--event", "e"), "give either --visitor ID or --event FILE"),
        (("--visitor", "a", "--rules", "rules"), "files, which know no visitors"),
        (("--event", "nowhere.json", "--rules", "rules"), "cannot read nowhere.json"),
        (("--event", "bad.json", "--rules", "rules"), "bad.json:1: no JSON"),
        (("--event", "empty.json", "--rules", "rules"), "empty.json holds no event"),
        (("--event", "wrong.json", "--rules", "rules"), "event 1: invalid-field"),
        (("--event", "good.json", "--rules", "rules", "--map", "each-ordr"), "did you mean 'each-order'"),
    ],
)
def test_what_cannot_be_explained_says_so(actionmap: Run, args: tuple[str, ...], said: str, folder: Path) -> None:
    for name, text in (("bad", b"{"), ("empty", b"\n"), ("wrong", b"{}"), ("good", event("a"))):
        (folder / f"{name}.json").write_bytes(text)
    failed(actionmap("explain", *args, cwd=folder), said)


def test_openapi_prints_the_document_and_nothing_else(actionmap: Run, tmp_path: Path) -> None:
    done = actionmap("openapi", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "/v1/events" in json.loads(done.stdout)["paths"]


# --- what is typed wrongly, or not there


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("lint", "rules", "--stric"), "--stric"),
        (("lint",), "DIR"),
        (("lnt",), "lnt"),
        (("check-golive", "--format", "xml"), "xml"),
        (("dev", "--port", "70000"), "--port"),
        (("send", "f", "--format", "csv"), "csv"),
        (("send", "nowhere.jsonl"), "nowhere.jsonl"),
        (("run", "--settings", "nowhere.env"), "nowhere.env"),
        (("run", "--workers", "0"), "--workers"),
    ],
)
def test_what_is_typed_wrongly_is_named(actionmap: Run, args: tuple[str, ...], said: str, folder: Path) -> None:
    failed(actionmap(*args, cwd=folder), said)


SETTINGS = {
    "ACTIONMAP_REDIS_URL": ("nowhere", "redis://:s3cret@host:notaport/0", "redis://:s3/cret@host:6379", "", "redis://"),
    "ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS": ("", "nowhere", "host:port", "host:1,", "host:99999"),
    "ACTIONMAP_API_KEYS": ("s3cret-without-rights", "s3cret-key:fly"),
    "ACTIONMAP_EGRESS_ALLOW": ("10.0.0.0/99",),
    "ACTIONMAP_PORT": ("http",),
    "ACTIONMAP_SESSION_TIMEOUT": ("soon", "-1"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SETTINGS.items() for value in values])
def test_a_setting_that_makes_no_sense_is_named_and_no_secret_is_shown(
    actionmap: Run, name: str, value: str, tmp_path: Path
) -> None:
    done = actionmap("run", cwd=tmp_path, env={name: value})
    failed(done, f"error: {name}: ")
    assert "s3cret" not in done.stderr
    assert "s3/cret" not in done.stderr


@pytest.mark.parametrize("command", ["dev", "demo"])
def test_a_wrong_setting_is_told_before_anything_is_started(actionmap: Run, command: str, folder: Path) -> None:
    failed(actionmap(command, cwd=folder, env={"ACTIONMAP_GOLIVE_EVERY": "5"}), "error: ACTIONMAP_GOLIVE_EVERY: ")


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_store_that_does_not_answer_is_named_and_its_password_is_not(
    actionmap: Run, command: str, tmp_path: Path
) -> None:
    env = {"ACTIONMAP_REDIS_URL": f"redis://:s3cret@{NOWHERE}/0", "ACTIONMAP_API_KEYS": "a-long-key:read"}
    done = actionmap(command, cwd=tmp_path, env=env)
    failed(done, "Redis does not answer", NOWHERE, "start it, or set ACTIONMAP_REDIS_URL")
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("command", ["run", "serve", "send"])
def test_a_broker_that_does_not_answer_is_named_with_what_to_do(
    actionmap: Run, command: str, valkey: str, unique: str, folder: Path
) -> None:
    env = {"ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS": NOWHERE, "ACTIONMAP_REDIS_URL": valkey,
           "ACTIONMAP_REDIS_PREFIX": unique, "ACTIONMAP_API_KEYS": "a-long-key:read"}  # fmt: skip
    args = ("send", "-") if command == "send" else (command,)
    done = actionmap(*args, cwd=folder, env=env, stdin=event())
    failed(done, f"no Kafka broker answers at {NOWHERE}", "set ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS")


def test_a_server_that_nobody_could_use_does_not_start(actionmap: Run, tmp_path: Path) -> None:
    failed(actionmap("serve", cwd=tmp_path), "ACTIONMAP_API_KEYS is empty", "set it, such as")


def test_a_port_that_is_taken_is_named(actionmap: Run, tmp_path: Path, broker: str, valkey: str, unique: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option in ("--port", "--kafka-port"):
            other = "--kafka-port" if option == "--port" else "--port"
            done = actionmap("dev", option, port, other, "0", "--data", "d", cwd=tmp_path)
            failed(done, f"127.0.0.1:{port}", "already in use", "choose another port")
        assert not (tmp_path / "d" / "store").exists()
        env = {"ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS": broker, "ACTIONMAP_REDIS_URL": valkey, "ACTIONMAP_PORT": port,
               "ACTIONMAP_REDIS_PREFIX": unique, "ACTIONMAP_EVENTS_TOPIC": unique, "ACTIONMAP_METRICS_PORT": port,
               "ACTIONMAP_API_KEYS": "a-long-key:read", "ACTIONMAP_EVENTS_TOPIC_PARTITIONS": "1"}  # fmt: skip
        for command in ("serve", "run"):
            failed(actionmap(command, cwd=tmp_path, env=env), f"127.0.0.1:{port}", "choose another port")


@pytest.mark.parametrize(
    "args", [("check-golive",), ("status",), ("plan", "rules"), ("export", "out"), ("deliveries", "list")], ids=" ".join
)
def test_a_server_that_does_not_answer_is_named_with_what_to_do(
    actionmap: Run, args: tuple[str, ...], folder: Path
) -> None:
    done = actionmap(*args, cwd=folder, env={"ACTIONMAP_API_URL": f"http://{NOWHERE}"})
    failed(done, f"no actionmap server answers at http://{NOWHERE}", "set ACTIONMAP_API_URL")


def test_something_else_that_answers_is_not_taken_for_a_server(actionmap: Run, folder: Path) -> None:
    with answering(b"<html>welcome</html>") as url:
        failed(actionmap("status", cwd=folder, env={"ACTIONMAP_API_URL": url}), url, "is no actionmap server")


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """The URL of a server that answers every GET with ``body``."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# --- what others wrote


EVIL = "\x1b]0;owned\x07\x9b2J\u2028[red]"
SEEN = r"\x1b]0;owned\x07\x9b2J\u2028[red]"
UNWELL = {"name": EVIL, "active": False, "held": EVIL, "heldSince": EVIL, "reason": EVIL, "failingSince": EVIL,
          "lastError": EVIL, "warning": EVIL, "breakers": {EVIL: EVIL},
          "reportedState": {"state": "activating", "detail": EVIL, "since": None}}  # fmt: skip
SERVED = {
    ("status",): {"status": EVIL, "revision": 1, "activeMaps": 1, "durability": EVIL, "problems": [EVIL],
                  "integrations": [UNWELL],
                  "partitions": [
        {"partition": 0, "offset": 1, "lag": 0, "streamTime": None, "outbox": 0, "owner": EVIL}]},
    ("deliveries", "list"): {"items": [{"id": EVIL, "state": EVIL, "actionMap": EVIL, "visitorId": EVIL, "attempts": 1,
                                        "error": EVIL}]},
    ("dead-letters", "list"): {"items": [{"id": EVIL, "at": EVIL, "reason": EVIL, "detail": EVIL}]},
    ("check-golive", "a"): {"actionMap": EVIL, "ready": False, "checks": [
        {"name": EVIL, "status": "fail", "message": EVIL, "fix": EVIL}]},
}  # fmt: skip


@pytest.mark.parametrize("command", SERVED, ids=" ".join)
def test_control_characters_in_what_visitors_and_receivers_wrote_are_shown_and_not_obeyed(
    actionmap: Run, command: tuple[str, ...], tmp_path: Path
) -> None:
    with answering(json.dumps(SERVED[command]).encode()) as url:
        done = actionmap(*command, cwd=tmp_path, env={"ACTIONMAP_API_URL": url})
        texts = json.dumps(SERVED[command]).count("owned")
        assert done.stdout.count(SEEN) == texts
        assert not set(done.stdout) & set("\x1b\x07\x9b\u2028")
        if command[-1] == "list":
            lines = actionmap(*command, "--format", "jsonl", cwd=tmp_path, env={"ACTIONMAP_API_URL": url}).stdout
            assert not set(lines) & set("\x1b\x07\x9b\u2028")
            assert [json.loads(line) for line in lines.splitlines()] == SERVED[command]["items"]


def test_control_characters_in_events_are_shown_and_not_obeyed(actionmap: Run, folder: Path) -> None:
    lines = [event("ada" + EVIL, eventId="1", timestamp="2026-01-01T00:00:09Z"), event("a", "\x1b[2Jno name")]
    (folder / "e.jsonl").write_bytes(b"\n".join(lines))
    done = actionmap("simulate", "rules", "--events", "e.jsonl", cwd=folder)
    assert f"for ada{SEEN}: POST" in done.stdout
    assert "e.jsonl:2: " in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_line_too_long_for_memory_is_told_by_number_and_left_out(actionmap: Run, folder: Path) -> None:
    good = event("a", timestamp="2026-01-01T00:00:09Z")
    (folder / "e.jsonl.gz").write_bytes(gzip.compress(good + b"\n" + b"x" * 2_000_000 + b"\n" + good))
    done = actionmap("simulate", "rules", "--events", "e.jsonl.gz", cwd=folder)
    assert "2 events" in done.stdout
    assert "error: e.jsonl.gz:2: too-large" in done.stderr


# --- export


def export(actionmap: Run, folder: Path, documents: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    body = json.dumps({"revision": 7, "definitions": documents}).encode()
    with answering(body) as url:
        return actionmap("export", "out", cwd=folder, env={"ACTIONMAP_API_URL": url})


def test_an_export_does_not_depend_on_the_encoding_of_the_machine(tmp_path: Path) -> None:
    strict = ("-X", "warn_default_encoding", "-W", "error::EncodingWarning:actionmap.cli.exported")
    with answering(json.dumps({"revision": 1, "definitions": rules()}).encode()) as url:
        command = [sys.executable, *strict, "-m", "actionmap", "export", "out"]
        env = {**os.environ, "ACTIONMAP_API_URL": url}
        for _ in range(2):
            subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=60)


def test_an_export_writes_over_a_former_one(actionmap: Run, tmp_path: Path) -> None:
    named = [{**rules()[0], "description": "Zoë → 10 %"}, *rules()[1:]]
    assert export(actionmap, tmp_path, named).returncode == 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"integrations.yaml", "data-actions.yaml", "webhooks.yaml", "action-maps.yaml"}
    written = (tmp_path / "out" / "integrations.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(written)["description"] == "Zoë → 10 %"

    again = export(actionmap, tmp_path, rules()[:2])
    assert (again.returncode, again.stderr) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"integrations.yaml", "data-actions.yaml"}
    assert actionmap("lint", "out", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["shop.yaml", "deeper/shop.yml", "webhooks.yaml"])
def test_an_export_is_refused_where_a_file_that_stays_would_define_the_same_again(
    actionmap: Run, name: str, tmp_path: Path
) -> None:
    (tmp_path / "out" / "deeper").mkdir(parents=True)
    write(tmp_path / "out", rules()[2:3], name)
    before = (tmp_path / "out" / name).read_text()
    failed(export(actionmap, tmp_path, rules()), name, "another folder")
    assert list((tmp_path / "out").rglob("*.y*ml")) == [tmp_path / "out" / name]
    assert (tmp_path / "out" / name).read_text() == before


def test_an_export_leaves_alone_what_is_not_its_own(actionmap: Run, tmp_path: Path) -> None:
    other = {"kind": "Segment", "name": "other", "when": {"key": "visitor.sessionCount", "operator": "exists"}}
    for name in ("segments.yaml", "mine.yaml", "webhooks.yaml"):
        write(tmp_path / "out", [{**other, "name": name}], name)
    done = export(actionmap, tmp_path, rules()[:2])
    assert done.returncode == 0
    assert "also holds mine.yaml, segments.yaml, webhooks.yaml" in done.stderr
    for name in ("segments.yaml", "mine.yaml", "webhooks.yaml"):
        assert yaml.safe_load((tmp_path / "out" / name).read_text())["name"] == name


# --- sending


def test_send_tells_bad_lines_by_number_and_sends_the_good_ones(
    actionmap: Run, broker: str, unique: str, tmp_path: Path
) -> None:
    env = {"ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS": broker, "ACTIONMAP_EVENTS_TOPIC": unique,
           "ACTIONMAP_EVENTS_TOPIC_PARTITIONS": "2"}  # fmt: skip
    good = [event("a"), event("b")]
    done = actionmap("send", "-", cwd=tmp_path, env=env, stdin=b"\n".join(good))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 events sent from 2 lines\n"

    bad = [good[0], b"nonsense", event("a", "webhook_failed"), good[1]]
    done = actionmap("send", "-", cwd=tmp_path, env=env, stdin=b"\n".join(bad))
    assert done.returncode == 1
    assert "2 events sent from 4 lines" in done.stdout
    assert "error: line 2: malformed-json" in done.stderr
    assert "error: line 3: reserved-event" in done.stderr


def test_a_folder_is_no_file_of_events(actionmap: Run, broker: str, tmp_path: Path) -> None:
    env = {"ACTIONMAP_KAFKA_BOOTSTRAP_SERVERS": broker}
    failed(actionmap("send", str(tmp_path), cwd=tmp_path, env=env), "cannot read", str(tmp_path))
