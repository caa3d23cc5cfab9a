"""YAML text as plain data, with the place of every key and value, so that errors can name them.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/, section 10.3), as editors
do: `yes`, `on`, `12:30` and `2024-01-31` are text, `1e3` is a number, keys are always text.
Merge keys (`<<`) and aliases work; tags, recursive aliases, duplicate keys and documents that
unfold to more than `MAX_VALUES` values are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.composer import ComposerError
from yaml.reader import Reader

from kdbench.errors import Problem, SuiteError

Where = tuple[str | int, ...]
"""Keys and indices that lead from the top of a document to a value."""

MAX_BYTES = 1 << 20
MAX_VALUES = 50_000
MAX_DEPTH = 40
MAX_DIGITS = 1_000

_TOO_DEEP = f"lists and mappings are nested more than {MAX_DEPTH} deep"
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_SIMPLE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class _Loader(yaml.SafeLoader):
    """Composes nodes only; scalars resolve by the core schema instead of PyYAML's YAML 1.1."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own class attribute, emptied
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, _TOO_DEEP, mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_SCALARS = {
    "null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
    "merge": re.compile(r"<<\Z"),
}
for _name, _pattern in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, None)


class Place(NamedTuple):
    """Where a key or value stands (1-based), and how it is `written` if it is a scalar."""

    line: int
    column: int
    written: str | None


@dataclass(frozen=True)
class YamlSource:
    """A document, the places of its values and keys, and its problems (duplicate keys)."""

    file: str
    text: str
    data: Any
    problems: tuple[Problem, ...] = ()
    values: dict[Where, Place] = field(default_factory=dict, repr=False)
    keys: dict[Where, Place] = field(default_factory=dict, repr=False)

    def problem(self, where: Where, message: str, *, at_key: bool = False) -> Problem:
        """A problem at `where`, or at the nearest thing around it that the document holds.

        With `at_key` it stands at the key, and its path is that of the mapping.
        """
        place = self.keys.get(where) if at_key else None
        known = where[:-1] if at_key else where
        while known not in self.values and known:
            known = known[:-1]
        place = place or self.values.get(known)
        line, column = (place.line, place.column) if place else (None, None)
        return Problem(self.file, line, column, path_text(known), message)

    def written(self, where: Where) -> str | None:
        """How the scalar at `where` is written, quotes included; None for everything else."""
        place = self.values.get(where)
        return place.written if place else None

    def line(self, where: Where) -> int | None:
        """The line of the value at `where`, or None."""
        place = self.values.get(where)
        return place.line if place else None


def path_text(where: Where) -> str:
    """`('pairs', 0, 'student')` as `pairs[0].student`."""
    text = ""
    for step in where:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _SIMPLE_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{shorten(step)!r}]"
    return text


def shorten(text: str, width: int = 60) -> str:
    """`text` in at most `width` characters."""
    return text if len(text) <= width else text[: width - 3] + "..."


def read_text(path: str | Path) -> str:
    """The exact text of a settings file; `SuiteError` where there is none, with the nearest."""
    file, shown = Path(path), str(path)

    def refuse(message: str, line: int | None = None, column: int | None = None) -> SuiteError:
        return SuiteError([Problem(shown, line, column, "", message)])

    try:
        if file.is_dir():
            inside = sorted(p.name for p in file.iterdir() if p.suffix in (".yaml", ".yml"))
            such = f", such as {file / inside[0]}" if inside else ""
            raise refuse(f"this is a folder; name a suite's YAML file{such}")
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise refuse(f"no such file{_nearby(file)}") from None
    except (OSError, ValueError) as error:
        raise refuse(f"can't be read: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > MAX_BYTES:
        raise refuse("larger than 1 MiB, so this is no suite; name a suite's YAML file")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        message = f"not UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8"
        raise refuse(message, before.count(b"\n") + 1, column) from error


def _nearby(file: Path) -> str:
    if not file.parent.is_dir():
        return f"; the folder {file.parent} doesn't exist either"
    names = sorted(p.name for p in file.parent.iterdir() if p.suffix in (".yaml", ".yml"))
    near = get_close_matches(file.name, names, n=1)
    near = near or get_close_matches(f"{file.name}.yaml", names, n=1)
    if near:
        return f" (did you mean '{file.parent / near[0]}'?)"
    return f"; the suites there are {', '.join(names[:5])}" if names else ""


def parse_yaml(text: str, file: str) -> YamlSource:
    """Read one YAML document. `file` is how messages name it; an empty document has the data None.

    Raises `SuiteError` where the text is no YAML, or YAML that a settings file has no use for.
    """
    text_only = text.removeprefix("\ufeff")
    _refuse_control_characters(text_only, file)
    loader = _Loader(text_only)
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise SuiteError([_syntax_problem(file, error)]) from error
    except (ValueError, OverflowError) as error:
        mark = loader.get_mark()  # PyYAML lets these escape for `\UFFFFFFFF` and `%YAML 9...9`
        message = f"not valid YAML: {error}"
        raise SuiteError([Problem(file, mark.line + 1, mark.column + 1, "", message)]) from error
    finally:
        loader.dispose()
    if node is None:
        return YamlSource(file, text, None)
    walk = _Walk(file)
    data = walk.plain(node, (), ())
    if walk.refused:
        raise SuiteError(in_order([*walk.refused, *walk.duplicates]))
    return YamlSource(file, text, data, tuple(walk.duplicates), walk.values, walk.keys)


def in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Problems in the order of the file, each once."""
    return sorted(dict.fromkeys(problems), key=lambda p: (p.line or 0, p.column or 0))


def _refuse_control_characters(text: str, file: str) -> None:
    found = Reader.NON_PRINTABLE.search(text)
    if found is None:
        return
    before = text[: found.start()]
    line, column = before.count("\n") + 1, found.start() - (before.rfind("\n") + 1) + 1
    message = f"the control character U+{ord(found.group()):04X} can't stand in YAML; remove it"
    raise SuiteError([Problem(file, line, column, "", message)])


def _syntax_problem(file: str, error: yaml.MarkedYAMLError) -> Problem:
    context, what = error.context or "", error.problem or "can't be read"
    mark = error.problem_mark or error.context_mark
    if context in ("while scanning a simple key", "while scanning a quoted scalar"):
        mark = error.context_mark or mark  # where it begins says more than where reading gave up
    if what == _TOO_DEEP:
        message = what
    elif r"'\t'" in what:
        message = "a tab can't stand here; indent with spaces"
    elif context == "while scanning an alias":
        message = "not valid YAML: text that begins with '*' needs quotes"
    elif context == "while scanning an anchor":
        message = "not valid YAML: text that begins with '&' needs quotes"
    elif "cannot start any token" in what:
        message = f"not valid YAML: {what}; text that begins with it needs quotes"
    elif "mapping values are not allowed here" in what:
        message = (
            "not valid YAML: a second ':' on one line, or a line indented too far "
            "(text that holds ': ' needs quotes)"
        )
    elif "expected <block end>" in what:
        message = "not valid YAML: this line's indentation fits none of the lines above it"
    elif "could not find expected ':'" in what:
        message = "not valid YAML: expected 'key: value', found no ':'"
    elif "found unexpected end of stream" in what and "quoted" in context:
        message = "not valid YAML: this quote is never closed"
    elif "but found another document" in what:
        message = "a second YAML document begins here; remove the '---' line or what follows it"
    else:
        message = f"not valid YAML: {what}"
    if mark is None:
        return Problem(file, None, None, "", message)
    return Problem(file, mark.line + 1, mark.column + 1, "", message)


class _Walk:
    """One walk over the nodes: plain data, places, and what is refused."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[Where, Place] = {}
        self.keys: dict[Where, Place] = {}
        self.refused: list[Problem] = []
        self.duplicates: list[Problem] = []
        self._entries: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]] = {}

    def plain(self, node: yaml.Node, where: Where, inside: tuple[int, ...]) -> Any:
        """The data of `node`; `inside` holds the nodes around it, so that cycles are noticed."""
        if id(node) in inside:
            raise SuiteError([self._problem(node, where, "this anchor holds an alias of itself")])
        if len(where) > MAX_DEPTH:
            raise SuiteError([self._problem(node, where[:3], _TOO_DEEP)])
        if len(self.values) > MAX_VALUES:
            message = f"aliases unfold this file to more than {MAX_VALUES:,} values"
            raise SuiteError([self._problem(node, where[:3], message)])
        self.values[where] = _place(node)
        inside = (*inside, id(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, where)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.plain(item, (*where, i), inside) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            data = {}
            for key, (key_node, value_node) in self._flat(node, where, ()).items():
                self.keys[(*where, key)] = _place(key_node)
                data[key] = self.plain(value_node, (*where, key), inside)
            return data
        return self._refuse_tag(node, where)

    def _scalar(self, node: yaml.ScalarNode, where: Where) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind in ("str", "merge"):
            self._check_text(node, where)
            return text
        if kind not in ("null", "bool", "int", "float"):
            return self._refuse_tag(node, where)
        if not (_SCALARS[kind].match(text) or (kind == "float" and _SCALARS["int"].match(text))):
            self._refuse(node, where, f"{shorten(text)!r} can't be read as {_tag_text(node)}")
            return None
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            if len(text) > MAX_DIGITS:
                self._refuse(node, where, f"a number of {len(text):,} digits is too long")
                return None
            return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))

    def _check_text(self, node: yaml.ScalarNode, where: Where) -> None:
        if bad := re.search("[\0\ud800-\udfff]", node.value):
            message = f"the character {bad.group()!r} can't stand in a text; remove it"
            self._refuse(node, where, message)

    def _flat(
        self, node: yaml.MappingNode, where: Where, inside: tuple[int, ...]
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> (key node, value node), with merge keys resolved: the mapping's own keys win."""
        if id(node) in self._entries:
            return self._entries[id(node)]
        if id(node) in inside:
            raise SuiteError([self._problem(node, where, "this mapping merges itself ('<<')")])
        if len(inside) > MAX_DEPTH:
            message = f"merges ('<<') of merges go more than {MAX_DEPTH} deep"
            raise SuiteError([self._problem(node, where, message)])
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merge_key: yaml.Node | None = None
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, where, "a key must be text, not a list or a mapping")
            elif key_node.tag == _MERGE:
                if merge_key is not None:
                    self._duplicate(key_node, merge_key, where)
                merge_key = key_node
                many = isinstance(value_node, yaml.SequenceNode)
                for source in value_node.value if many else [value_node]:
                    if not isinstance(source, yaml.MappingNode):
                        self._refuse(source, where, "'<<' merges a mapping or a list of mappings")
                        continue
                    for key, nodes in self._flat(source, where, (*inside, id(node))).items():
                        merged.setdefault(key, nodes)
            elif key_node.value in own:
                self._duplicate(key_node, own[key_node.value][0], where)
            else:
                self._check_text(key_node, where)
                own[key_node.value] = (key_node, value_node)
        flat = {**own, **{key: nodes for key, nodes in merged.items() if key not in own}}
        self._entries[id(node)] = flat
        return flat

    def _duplicate(self, key: yaml.Node, first: yaml.Node, where: Where) -> None:
        message = (
            f"the key {shorten(key.value)!r} is here twice (first on line "
            f"{first.start_mark.line + 1}); remove or rename one"
        )
        self.duplicates.append(self._problem(key, where, message))

    def _refuse_tag(self, node: yaml.Node, where: Where) -> None:
        self._refuse(node, where, f"the YAML tag {_tag_text(node)} can't be used here; remove it")

    def _refuse(self, node: yaml.Node, where: Where, message: str) -> None:
        self.refused.append(self._problem(node, where, message))

    def _problem(self, node: yaml.Node, where: Where, message: str) -> Problem:
        mark = node.start_mark
        return Problem(self.file, mark.line + 1, mark.column + 1, path_text(where), message)


def _place(node: yaml.Node) -> Place:
    written = None
    if isinstance(node, yaml.ScalarNode):
        written = repr(shorten(node.value)) if node.tag == _TAG + "str" else shorten(node.value)
    return Place(node.start_mark.line + 1, node.start_mark.column + 1, written)


def _tag_text(node: yaml.Node) -> str:
    tag = node.tag
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else f"{tag}"
