"""The engines that `matching.py` compares, each through its fastest documented way, behind one small interface.

``Engine(trees)`` builds; ``prepare(event)`` is not timed for ours, whose events come as scopes, and for the others
keeps the fields that maps ask for; ``match(prepared)`` answers the positions of the maps that match; ``change(position,
tree)`` replaces one map.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from matching_workload import PATHS, Tree


class Engine(Protocol):
    """One engine with maps in it."""

    def prepare(self, event: dict[str, Any]) -> Any: ...
    def match(self, prepared: Any) -> Iterable[int]: ...
    def change(self, position: int, tree: Tree) -> None: ...


def flat(event: dict[str, Any]) -> dict[str, Any]:
    """What maps ask for, flat."""
    return {field: event[field] for field in (*PATHS, "members")}


class Naive:
    """A tree walk: what everything else is compared with."""

    def __init__(self, trees: list[Tree]) -> None:
        self._trees = list(trees)

    prepare = staticmethod(flat)

    def match(self, event: dict[str, Any]) -> list[int]:
        return [position for position, tree in enumerate(self._trees) if self.holds(tree, event)]

    def change(self, position: int, tree: Tree) -> None:
        self._trees[position] = tree

    def holds(self, tree: Tree, event: dict[str, Any]) -> bool:
        operator, field, value = tree if len(tree) == 3 else (*tree, None)
        if operator == "all":
            return all(self.holds(part, event) for part in field)
        if operator == "any":
            return any(self.holds(part, event) for part in field)
        if operator == "not":
            return not self.holds(field, event)
        if operator == "segment":
            return field in event["members"]
        return bool(_TESTS[operator](event[field], value))


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "equal": lambda seen, value: seen == value,
    "notEqual": lambda seen, value: seen != value,
    "in": lambda seen, value: seen in value,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda seen, value: value in seen,
    "greaterThan": lambda seen, value: seen > value,
    "lessThan": lambda seen, value: seen < value,
}


def expression(tree: Tree, words: dict[str, str], literal: Callable[[Any], str] = json.dumps) -> str:
    """``tree`` in an engine's own words: templates with ``{field}`` and ``{value}``, and how groups are joined."""
    match tree:
        case ("all" | "any" as kind, parts):
            return "(" + words[kind].join(expression(part, words, literal) for part in parts) + ")"
        case ("not", part):
            return words["not"].format(part=expression(part, words, literal))
        case ("segment", name, _):
            return words["segment"].format(value=literal(name))
    operator, field, value = tree
    return words[operator].format(field=words["field"].format(field=field), value=literal(value))


class Generated:
    """Python source, compiled in blocks of 500 maps, so that a change compiles one block."""

    BLOCK = 500
    WORDS = {
        "all": " and ", "any": " or ", "not": "not ({part})", "segment": "{value} in members", "field": "{field}",
        "equal": "{field} == {value}", "notEqual": "{field} != {value}", "in": "{field} in {value}",
        "startsWith": "{field}.startswith({value})", "endsWith": "{field}.endswith({value})",
        "contains": "{value} in {field}", "greaterThan": "{field} > {value}", "lessThan": "{field} < {value}",
    }  # fmt: skip

    def __init__(self, trees: list[Tree]) -> None:
        self._trees = list(trees)
        self._blocks = [self._compiled(start) for start in range(0, len(trees), self.BLOCK)]

    prepare = staticmethod(flat)

    def match(self, event: dict[str, Any]) -> list[int]:
        found: list[int] = []
        for block in self._blocks:
            block(found.append, **event)
        return found

    def change(self, position: int, tree: Tree) -> None:
        self._trees[position] = tree
        self._blocks[position // self.BLOCK] = self._compiled(position // self.BLOCK * self.BLOCK)

    def _compiled(self, start: int) -> Callable[..., None]:
        lines = [f"def block(add, {', '.join(PATHS)}, members):"]
        for position, tree in enumerate(self._trees[start : start + self.BLOCK], start):
            lines.append(f"    if {expression(tree, self.WORDS, repr)}: add({position})")
        made: dict[str, Any] = {}
        exec(compile("\n".join(lines), "maps", "exec"), made)
        return made["block"]  # type: ignore[no-any-return]


class Zen:
    """zen-engine: one expression, an array with a place for each map."""

    WORDS = {
        "all": " and ", "any": " or ", "not": "not ({part})", "segment": "({value} in members)", "field": "{field}",
        "equal": "({field} == {value})", "notEqual": "({field} != {value})", "in": "({field} in {value})",
        "startsWith": "startsWith({field}, {value})", "endsWith": "endsWith({field}, {value})",
        "contains": "contains({field}, {value})", "greaterThan": "({field} > {value})",
        "lessThan": "({field} < {value})",
    }  # fmt: skip

    def __init__(self, trees: list[Tree]) -> None:
        import zen

        self._compile = zen.compile_expression
        self._parts = [expression(tree, self.WORDS) for tree in trees]
        self._expression = self._compile(f"[{', '.join(self._parts)}]")

    prepare = staticmethod(flat)

    def match(self, event: dict[str, Any]) -> list[int]:
        return [position for position, true in enumerate(self._expression.evaluate(event)) if true]

    def change(self, position: int, tree: Tree) -> None:
        self._parts[position] = expression(tree, self.WORDS)
        self._expression = self._compile(f"[{', '.join(self._parts)}]")


class DataLogic:
    """datalogic-py: compiled JSONLogic rules, one native call for all of them."""

    def __init__(self, trees: list[Tree]) -> None:
        from datalogic_py import DataHandle
        from datalogic_py import Engine as Logic

        self._engine, self._handle = Logic(), DataHandle
        self._session = self._engine.session()
        self._rules = [self._engine.compile(self._rule(tree)) for tree in trees]

    prepare = staticmethod(flat)

    def match(self, event: dict[str, Any]) -> list[int]:
        answers = self._session.evaluate_many(self._rules, self._handle(json.dumps(event)))
        return [position for position, answer in enumerate(answers) if answer == "true"]

    def change(self, position: int, tree: Tree) -> None:
        self._rules[position] = self._engine.compile(self._rule(tree))

    def _rule(self, tree: Tree) -> Any:
        match tree:
            case ("all" | "any" as kind, parts):
                return {"and" if kind == "all" else "or": [self._rule(part) for part in parts]}
            case ("not", part):
                return {"!": [self._rule(part)]}
            case ("segment", name, _):
                return {"in": [name, {"var": "members"}]}
        operator, field, value = tree
        seen = {"var": field}
        if operator in ("in", "contains"):
            return {"in": [seen, list(value)]} if operator == "in" else {"in": [value, seen]}
        words = {"equal": "===", "notEqual": "!==", "startsWith": "starts_with", "endsWith": "ends_with",
                 "greaterThan": ">", "lessThan": "<"}  # fmt: skip
        return {words[operator]: [seen, value]}


class Cel:
    """common-expression-language (Rust): a program a map, one context an event."""

    WORDS = {
        "all": " && ", "any": " || ", "not": "!({part})", "segment": "({value} in members)", "field": "{field}",
        "equal": "({field} == {value})", "notEqual": "({field} != {value})", "in": "({field} in {value})",
        "startsWith": "{field}.startsWith({value})", "endsWith": "{field}.endsWith({value})",
        "contains": "{field}.contains({value})", "greaterThan": "({field} > {value})",
        "lessThan": "({field} < {value})",
    }  # fmt: skip

    def __init__(self, trees: list[Tree]) -> None:
        import cel

        self._cel = cel
        self._programs = [cel.compile(expression(tree, self.WORDS)) for tree in trees]

    prepare = staticmethod(flat)

    def match(self, event: dict[str, Any]) -> list[int]:
        context = self._cel.Context(variables=event)
        return [position for position, program in enumerate(self._programs) if program.execute(context)]

    def change(self, position: int, tree: Tree) -> None:
        self._programs[position] = self._cel.compile(expression(tree, self.WORDS))


class RuleEngine:
    """rule-engine (Python): a rule a map."""

    WORDS = {
        "all": " and ", "any": " or ", "not": "not ({part})", "segment": "({value} in members)", "field": "{field}",
        "equal": "({field} == {value})", "notEqual": "({field} != {value})", "in": "({field} in {value})",
        "startsWith": "{field}.starts_with({value})", "endsWith": "{field}.ends_with({value})",
        "contains": "({value} in {field})", "greaterThan": "({field} > {value})", "lessThan": "({field} < {value})",
    }  # fmt: skip

    def __init__(self, trees: list[Tree]) -> None:
        import rule_engine

        self._rule = rule_engine.Rule
        self._rules = [self._rule(expression(tree, self.WORDS)) for tree in trees]

    @staticmethod
    def prepare(event: dict[str, Any]) -> dict[str, Any]:
        return flat(event) | {"members": tuple(event["members"])}

    def match(self, event: dict[str, Any]) -> list[int]:
        return [position for position, rule in enumerate(self._rules) if rule.matches(event)]

    def change(self, position: int, tree: Tree) -> None:
        self._rules[position] = self._rule(expression(tree, self.WORDS))


class Clips:
    """clipspy: a rule for each alternative; one fact an event, whose activations are the answer."""

    WORDS = {
        "segment": "(member$ {value} ?members)", "field": "?{field}", "equal": "(eq {field} {value})",
        "notEqual": "(neq {field} {value})", "in": "(or {value})", "startsWith": "(eq 1 (str-index {value} {field}))",
        "endsWith": "(eq {value} (sub-string (+ 1 (- (str-length {field}) {length})) (str-length {field}) {field}))",
        "contains": "(neq FALSE (str-index {value} {field}))", "greaterThan": "(> {field} {value})",
        "lessThan": "(< {field} {value})",
    }  # fmt: skip

    def __init__(self, trees: list[Tree]) -> None:
        import clips

        self._environment = clips.Environment()
        slots = " ".join(f"(slot {field})" for field in PATHS)
        self._environment.build(f"(deftemplate event {slots} (multislot members))")
        self._template = self._environment.find_template("event")
        self._rules: dict[int, int] = {}
        for position, tree in enumerate(trees):
            self._build(position, tree)

    prepare = staticmethod(flat)

    def match(self, event: dict[str, Any]) -> set[int]:
        fact = self._template.assert_fact(**event)
        found = {int(activation.name.split("-")[1]) for activation in self._environment.activations()}
        fact.retract()
        return found

    def change(self, position: int, tree: Tree) -> None:
        for part in range(self._rules[position]):
            self._environment.find_rule(f"m-{position}-{part}").undefine()
        self._build(position, tree)

    def _build(self, position: int, tree: Tree) -> None:
        alternatives = tree[1] if tree[0] == "any" else [tree]
        self._rules[position] = len(alternatives)
        for part, one in enumerate(alternatives):
            conjuncts = one[1] if one[0] == "all" else [one]
            equalities = {field: value for operator, field, value in
                          (some for some in conjuncts if some[0] == "equal")}  # fmt: skip
            rest = [some for some in conjuncts if some[0] != "equal" or equalities[some[1]] != some[2]]
            fixed = [f"({field} {self._literal(value)})" for field, value in equalities.items()]
            asked = {field for some in rest for field in _fields(some)} - equalities.keys()
            bound = [f"({field} ?{field})" for field in sorted(asked - {"members"})]
            listed = ["(members $?members)"] if "members" in asked else []
            tests = "".join(f"(test {self._test(some, equalities)})" for some in rest)
            self._environment.build(
                f"(defrule m-{position}-{part} (event {' '.join([*fixed, *bound, *listed])}) {tests} =>)"
            )

    def _test(self, tree: Tree, fixed: dict[str, Any]) -> str:
        match tree:
            case ("all" | "any" as kind, parts):
                joined = " ".join(self._test(part, fixed) for part in parts)
                return f"({'and' if kind == 'all' else 'or'} {joined})"
            case ("not", part):
                return f"(not {self._test(part, fixed)})"
            case ("segment", name, _):
                return self.WORDS["segment"].format(value=self._literal(name))
        operator, field, value = tree
        seen = self._literal(fixed[field]) if field in fixed else f"?{field}"
        written = self._literal(value) if not isinstance(value, tuple) else " ".join(
            f"(eq {seen} {self._literal(one)})" for one in value
        )  # fmt: skip
        length = len(value) if isinstance(value, str) else 0
        return self.WORDS[operator].format(field=seen, value=written, length=length)

    @staticmethod
    def _literal(value: Any) -> str:
        return json.dumps(value)


def _fields(tree: Tree) -> set[str]:
    match tree:
        case ("all" | "any", parts):
            return set().union(*(_fields(part) for part in parts))
        case ("not", part):
            return _fields(part)
        case ("segment", _, _):
            return {"members"}
    return {tree[1]}


class DurableRules:
    """durable-rules: the C binding without its host, facts under one session, 100 maps a rule set."""

    def __init__(self, trees: list[Tree]) -> None:
        import durable_rules_engine

        self._engine = durable_rules_engine
        self._trees = list(trees)
        self._events = 0
        self._handles = [self._made(start) for start in range(0, len(trees), 100)]

    prepare = staticmethod(flat)

    def match(self, event: dict[str, Any]) -> set[int]:
        self._events += 1
        members = {segment.replace("-", "_"): 1 for segment in event["members"]}
        own = {field: event[field] for field in PATHS}
        fact = json.dumps({"id": str(self._events), "sid": "1", "on": 1, **own, **members}, ensure_ascii=False)
        found: set[int] = set()
        for handle in self._handles:
            status, state = self._engine.assert_fact(handle, fact)
            answer = self._engine.start_action_for_state(handle, state) if status == 0 else None
            message = answer[1] if answer else None
            while message:
                found.update(int(name[1:]) for name in json.loads(message))
                message = self._engine.complete_and_start_action(handle, state)
            self._engine.retract_fact(handle, fact)
        return found

    def change(self, position: int, tree: Tree) -> None:
        self._trees[position] = tree
        self._handles[position // 100] = self._made(position // 100 * 100)

    def _made(self, start: int) -> Any:
        rules = {
            f"m{position}": {"all": [{"m": {"$and": [{"$ex": {"on": 1}}, self._rule(tree)]}}]}
            for position, tree in enumerate(self._trees[start : start + 100], start)
        }
        return self._engine.create_ruleset(f"r{start}", json.dumps(rules, ensure_ascii=False))

    def _rule(self, tree: Tree, holds: bool = True) -> dict[str, Any]:
        match tree:
            case ("all" | "any" as kind, parts):
                every = (kind == "all") is holds
                return _joined([self._rule(part, holds) for part in parts], every)
            case ("not", part):
                return self._rule(part, not holds)
            case ("segment", name, _):
                return {"$ex" if holds else "$nex": {name.replace("-", "_"): 1}}
            case ("in", field, values):
                return _joined([self._rule(("equal", field, value), holds) for value in values], not holds)
        operator, field, value = tree
        if operator in ("startsWith", "endsWith", "contains"):
            if not holds:
                raise ValueError("durable-rules has no negation of text operators")
            escaped = "".join(f"%{one}" if one in ".|?*+()[]{}%" else one for one in value)
            pattern = {"startsWith": f"{escaped}.*", "endsWith": f".*{escaped}", "contains": f".*{escaped}.*"}[operator]
            return {"$mt": {field: pattern}}
        signs = {"equal": "$eq", "notEqual": "$neq", "greaterThan": "$gt", "lessThan": "$lt"}
        inverted = {"equal": "$neq", "notEqual": "$eq", "greaterThan": "$lte", "lessThan": "$gte"}
        sign = (signs if holds else inverted)[operator]
        return {field: value} if sign == "$eq" else {sign: {field: value}}


def _joined(parts: list[dict[str, Any]], every: bool) -> dict[str, Any]:
    return parts[0] if len(parts) == 1 else {"$and" if every else "$or": parts}


#: Name → the engine, and the module that it needs.
ENGINES: dict[str, tuple[type[Any], str]] = {
    "naive tree walk": (Naive, "json"),
    "generated code": (Generated, "json"),
    "durable-rules": (DurableRules, "durable_rules_engine"),
    "clipspy": (Clips, "clips"),
    "zen-engine": (Zen, "zen"),
    "datalogic-py": (DataLogic, "datalogic_py"),
    "cel (Rust)": (Cel, "cel"),
    "rule-engine": (RuleEngine, "rule_engine"),
}
