"""A YAML file as plain values that know their lines. YAML 1.2's core schema: `off` is a word, `12:30` is no number."""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.sim.scenario.quantities import read_quantity

T = TypeVar("T")
Path_ = tuple[str | int, ...]
MOST_BYTES: Final = 16_000_000
_MOST_VALUES: Final = 1_000_000  # aliases multiply
_INDEX: Final = re.compile(r"\[(\d+|\.\.\.)\]|\.?([^.\[\]]+)")
_AT: Final = re.compile(r"(.*) - at `(?:key in )?\$(.*)`", re.DOTALL)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Only what JSON has: null, booleans, numbers, strings; and merging of mappings."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own name

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._flat: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what is merged into a mapping before its own fields: once, however many aliases lead to it. _Twice for a
        field that it has twice of its own."""
        if id(node) in self._flat:
            return
        self._flat.add(id(node))
        own: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in own:
                    raise _Twice(key.value, key.start_mark.line + 1)
                own.add(key.value)
        super().flatten_mapping(node)


class _Twice(Exception):
    """A field (name, line) that stands in one mapping twice."""


for _tag, _form, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_form})$"), _first)


class Document:
    """The values of a file, and where each stands. `folder`: what file names in it are relative to."""

    def __init__(self, text: str, name: str, folder: Path) -> None:
        """Raises Invalid for what is no YAML mapping."""
        self.name, self.folder = name, folder
        self._lines: dict[Path_, int] = {}
        self._values = 0
        try:
            loader = _Loader(text)
            try:
                node = loader.get_single_node()
                root = self._plain(loader, node, ()) if node is not None else None
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
            raise Invalid(f"{name}, line {line}: it is no YAML: {error.problem}.") from None
        except (yaml.YAMLError, RecursionError) as error:
            raise Invalid(f"{name}: it is no YAML: {str(error).splitlines()[0]}.") from None
        if not isinstance(root, dict):
            raise Invalid(f"{name}: a scenario is a mapping of fields (name, workloads, architectures, ...).")
        self.root: dict[str, Any] = root

    def fault(self, path: Path_, message: str) -> Invalid:
        """An error about what stands at `path`."""
        return Invalid(f"{self.name}, line {self.line(path)}: {dotted(path)}{message}")

    def line(self, path: Path_) -> int:
        """Of a value, or of the nearest thing around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def take(self, path: Path_, kind: type[T], value: Any) -> T:
        """`value`, which stands at `path`, as a `kind`. Raises Invalid."""
        self._check_names(path, kind, value)
        try:
            return msgspec.convert(value, kind, dec_hook=read_quantity)
        except msgspec.ValidationError as error:
            message, inner = str(error), ""
            if found := _AT.fullmatch(message):
                message, inner = found[1], found[2]
            raise self.fault((*path, *_path_of(inner)), _said(message, _choices(kind, _path_of(inner)))) from None

    def _check_names(self, path: Path_, kind: Any, value: Any) -> None:
        """Fields that there are not, said better than msgspec would: with their own line and what was meant."""
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        for one in kinds:
            if isinstance(value, Mapping) and isinstance(one, type) and issubclass(one, Struct):
                known = get_type_hints(one)
                renamed = dict(zip(one.__struct_encode_fields__, one.__struct_fields__, strict=True))
                for name, inner in value.items():
                    if name not in renamed:
                        raise self.fault((*path, name), _unknown(name, list(renamed)))
                    self._check_names((*path, name), known[renamed[name]], inner)
            elif isinstance(value, list) and get_origin(one) in (tuple, list):
                for number, inner in enumerate(value):
                    self._check_names((*path, number), get_args(one)[0], inner)

    def _plain(self, loader: _Loader, node: yaml.Node, path: Path_) -> Any:
        self._lines[path] = node.start_mark.line + 1
        self._values += 1
        if self._values > _MOST_VALUES:
            raise Invalid(f"{self.name}: it has more than {_MOST_VALUES:,} values, those behind aliases counted.")
        if isinstance(node, yaml.ScalarNode):
            if not node.tag.startswith("tag:yaml.org,2002:"):
                raise self.fault(path, f"the tag {node.tag} is not known here.")
            return loader.construct_object(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(loader, one, (*path, number)) for number, one in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        return self._mapping(loader, node, path)

    def _mapping(self, loader: _Loader, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        try:
            loader.flatten_mapping(node)
        except _Twice as twice:
            name, line = twice.args
            raise Invalid(f"{self.name}, line {line}: {dotted((*path, name))}it stands there twice.") from None
        if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            raise self.fault(path, "a field's name is a word.")
        found: dict[str, Any] = {}
        for key, value in node.value:  # merged ones come first: own ones overwrite them
            found[key.value] = self._plain(loader, value, (*path, key.value))
            self._lines[(*path, key.value)] = key.start_mark.line + 1
        return found


def read_document(path: Path) -> Document:
    """The document in a file. Raises Invalid."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Invalid(f"The scenario {path} is larger than {MOST_BYTES / 1e6:.0f} MB: put its data into traces.")
        text = path.read_text()
    except OSError as error:
        raise Invalid(f"The scenario {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"The scenario {path} is no text: {error.reason}.") from error
    return Document(text, path.name, path.parent)


def dotted(path: Path_) -> str:
    """`workloads.fraud.work: `, as messages begin; "" for the whole file."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return f"{text}: " if text else ""


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    meant = f" Did you mean `{near[0]}`?" if near else ""
    return f"there is no such field here.{meant} There are {', '.join(known)}."


def _path_of(told: str) -> Path_:
    found: list[str | int] = []
    for index, name in _INDEX.findall(told):
        if index == "...":
            break
        found.append(int(index) if index else name)
    return tuple(found)


def _choices(kind: Any, path: Path_) -> list[str]:
    """The words that may stand at `path` of a `kind`; none where it is no matter of words."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for one in kinds:
        if path and isinstance(one, type) and issubclass(one, Struct):
            renamed = dict(zip(one.__struct_encode_fields__, one.__struct_fields__, strict=True))
            if str(path[0]) in renamed:
                return _choices(get_type_hints(one)[renamed[str(path[0])]], path[1:])
        elif path and get_origin(one) in (tuple, list, dict):
            return _choices(get_args(one)[-1 if get_origin(one) is dict else 0], path[1:])
        elif get_origin(one) is Literal:
            return [str(word) for word in get_args(one)]
        elif isinstance(one, type) and issubclass(one, enum.Enum):
            return [str(word.value) for word in one]
    return []


def _said(message: str, choices: Sequence[str]) -> str:
    """msgspec's words, for whoever writes YAML."""
    if choices and (found := re.fullmatch(r"Invalid enum value (.+)", message)):
        return f"{found[1]} is none of {', '.join(choices)}."
    if found := re.fullmatch(r"Object missing required field `(\w+)`", message):
        return f"the field `{found[1]}` is needed."
    if found := re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", message):
        return f"it must be {_type_word(found[1])}, not {_type_word(found[2])}."
    return message if message.endswith(".") else f"{message}."


_WORDS: Final = {
    "object": "a mapping", "array": "a list", "str": "a word", "int": "a whole number", "float": "a number",
    "bool": "true or false", "null": "empty",
}  # fmt: skip


def _type_word(kinds: str) -> str:
    named = [kind.strip() for kind in kinds.split("|")]
    return " or ".join(_WORDS.get(kind, kind) for kind in named if kind != "null" or len(named) == 1)
