"""What visitors and receivers write is shown on the terminal, never obeyed."""

import io

import pytest
from rich.console import Console

from actionmap.delivery import Attempt, Delivery
from actionmap.demo.screen import Screen, printable, shown


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Zoë → 10 %", "Zoë → 10 %"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\n\tb\x00\x7f", r"a\r\n\tb\x00\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, seen: str):
    assert printable(text) == seen


@pytest.mark.parametrize("text", ["[red]", "[/]", "\x1b[red]", "back\\", "[link=https://evil.example]x[/link]"])
def test_what_looks_like_markup_is_shown_as_it_is(text: str):
    console = Console(file=io.StringIO(), width=200, highlight=False)
    console.print(f"[bold]{shown(text)}[/]")
    assert console.file.getvalue() == printable(text) + "\n"  # type: ignore[attr-defined]


def test_a_firing_cannot_write_to_the_terminal():
    console = Console(file=io.StringIO(), width=200)
    delivery = Delivery(
        id="d", integration="shop", webhook="tell", action_map="each", visitor_id="ada\x1b[2J", event_id="e",
        at=0, owed_at=0, method="POST", target="/x",
    )  # fmt: skip
    Screen(console).attempted(delivery, Attempt("dead", error="said \x9b2J\r"))
    seen = console.file.getvalue()  # type: ignore[attr-defined]
    assert r"said \x9b2J\r" in seen
    assert r"for ada\x1b[2J in" in seen
    assert "\x1b" not in seen
