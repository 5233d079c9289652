"""Options: one frozen dataclass per command is the schema of its Python keywords, its YAML keys and its flags.

    @dataclass(frozen=True)
    class TrainConfig:
        train: tuple[str, str] = field(metadata={"help": "source and target file"})     # no default: must be given
        seed: int = field(default=1, metadata={"help": "seed of everything random"})
        training: TrainingOptions = field(default_factory=TrainingOptions)             # nested: flat flags, dotted keys

    config = resolve(TrainConfig, train=("a.de", "a.en"), learning_rate=3e-4)            # Python
    config = load(TrainConfig, "run.yaml", ["training.learning_rate=3e-4"])              # files and command line

A nested option answers to its dotted path (`training.learning_rate`) and, where no earlier option has that name, to its
last part alone (`learning_rate`), behind the nested field's `metadata={"prefix": ...}` if there is one. Rules that join
several options stand in its `__post_init__` and raise `ConfigError`. Types: values.py, and nested dataclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distilmt.errors import ConfigError
from distilmt.interface.values import convert, describe

T = TypeVar("T")
Keys = tuple[str, ...]
_FILE_LIMIT = 1 << 18
_DEPTH_LIMIT = 10


@dataclass(frozen=True)
class Option:
    """One leaf of the schema: `keys` leads to it, `name` is its shortest unambiguous name."""

    keys: Keys
    name: str
    type: Any
    required: bool
    default: Any
    help: str
    metavar: str


def options(cls: type) -> list[Option]:
    """All options of a configuration dataclass: its own in the order of the class, then those of nested dataclasses."""
    found: list[Option] = []
    taken: set[str] = set()
    level: list[tuple[Keys, str, type, Any]] = [((), "", cls, dataclasses.MISSING)]
    while level:  # breadth first: an outer option owns the short name
        deeper: list[tuple[Keys, str, type, Any]] = []
        for above, prefix, owner, instance in level:
            hints = typing.get_type_hints(owner)
            for field in dataclasses.fields(owner):
                keys, kind = (*above, field.name), hints[field.name]
                default = _default(field) if instance is dataclasses.MISSING else getattr(instance, field.name)
                if dataclasses.is_dataclass(kind):
                    inner = prefix + str(field.metadata.get("prefix", ""))
                    deeper.append((keys, inner, typing.cast(type, kind), default))
                    continue
                name = prefix + field.name if prefix + field.name not in taken else "_".join(keys)
                taken.add(name)
                required = default is dataclasses.MISSING
                text = str(field.metadata.get("help", ""))
                metavar = str(field.metadata.get("metavar") or describe(kind))
                found.append(Option(keys, name, kind, required, None if required else default, text, metavar))
        level = deeper
    return found


def resolve(cls: type[T], config: T | Mapping[str, Any] | str | Path | None = None, /, **keywords: Any) -> T:
    """Builds a checked configuration.

    Args:
        cls: the frozen dataclass that is the schema.
        config: what to start from: an instance, a mapping, or the name of a YAML file; None for the defaults.
        **keywords: options that win over it. Nested: `training=TrainingOptions(...)` or a mapping, or flat.

    Raises:
        ConfigError: an unknown or missing option, or a value of a wrong type.
    """
    if isinstance(config, (str, os.PathLike)):
        values = _from_file(cls, Path(config))
    elif config is None or isinstance(config, cls):
        values = {} if config is None else _leaves(config)
    elif isinstance(config, Mapping):
        values = _collect(cls, (("", str(key), value) for key, value in config.items()), text=False)
    else:
        raise ConfigError(f"config: must be {cls.__name__}, a mapping or a YAML file, got {type(config).__name__}")
    values |= _collect(cls, (("", key, value) for key, value in keywords.items()), text=False)
    return _build(cls, values)


def load(
    cls: type[T], file: str | Path | None = None, sets: Iterable[str] = (), flags: Mapping[str, Any] | None = None
) -> T:
    """Like `resolve`, from text: a YAML file, then `KEY=VALUE` settings, then command-line flags; the later one wins.

    Raises:
        ConfigError: as `resolve`, with `FILE:LINE` or the setting in front.
    """
    values = {} if file is None else _from_file(cls, Path(file))
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: must be KEY=VALUE, as in --set learning_rate=3e-4")
        listed = value.startswith("[") and value.endswith("]")
        item = _plain(_yaml(value, f"--set {text}")) if listed else value
        values |= _collect(cls, [("--set ", key.strip(), item)], text=True)
    given = (("--", key.replace("_", "-"), value) for key, value in (flags or {}).items())
    values |= _collect(cls, given, text=True)
    return _build(cls, values)


def checked(cls: type, given: Iterable[tuple[str, str, Any]], *, text: bool) -> dict[str, Any]:
    """Options by dotted path, those alone that were given, each checked; and together whatever `cls` itself asks for.

    Args:
        given: triples (where it was written, for messages; name; value).
        text: values were typed by a person, as in `load`.

    Raises:
        ConfigError: as `resolve`.
    """
    values = _collect(cls, given, text=text)
    _build(cls, values)
    return {".".join(keys): value for keys, value in values.items()}


def places(file: str | Path) -> dict[str, int]:
    """Where a YAML file says what: line numbers by dotted path, at any depth.

    Raises:
        ConfigError: it cannot be read, is no YAML, or gives a key twice.
    """
    lines: dict[str, int] = {}
    waiting = [("", _root(Path(file)))]
    while waiting:
        above, node = waiting.pop()
        for key, value in node.value if node is not None and node.id == "mapping" else ():
            name, line = f"{above}{key.value}", key.start_mark.line + 1
            if name in lines:
                raise ConfigError(f"{file}:{line}: {name}: given twice - keep one")
            lines[name] = line
            waiting.append((f"{name}.", value))
    return lines


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON data, nested as the dataclasses are; `resolve(cls, to_dict(c)) == c`."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

    return typing.cast(dict[str, Any], plain(config))


def as_call(function: str, config: Any) -> str:
    """The call that this configuration stands for, as Python source: `function(option=value, ...)`, defaults left out."""
    values, shown = _leaves(config), []
    for option in options(type(config)):
        value = values[option.keys]
        if option.required or value != option.default:
            shown.append(f"{option.name}={str(value) if isinstance(value, Path) else value!r}")
    return f"{function}({', '.join(shown)})"


def _collect(cls: type, given: Iterable[tuple[str, str, Any]], *, text: bool) -> dict[Keys, Any]:
    """Values by keys, each checked, from triples (where it was written, name, value)."""
    table = options(cls)
    by_name = {".".join(option.keys): option for option in table} | {option.name: option for option in table}
    values: dict[Keys, Any] = {}
    for where, name, value in _flatten(cls, given):
        option = by_name.get(name.replace("-", "_"))
        if option is None:
            near = difflib.get_close_matches(name, by_name, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(option.name for option in table)}"
            raise ConfigError(f"{where}{name}: unknown option - {hint}")
        if option.keys in values:
            raise ConfigError(f"{where}{name}: given twice, also as {option.name!r} or by its full path - keep one")
        try:
            values[option.keys] = convert(value, option.type, text=text)
        except ValueError as error:
            raise ConfigError(f"{where}{name}: {error}") from None
    return values


def _flatten(cls: type, given: Iterable[tuple[str, str, Any]]) -> Iterator[tuple[str, str, Any]]:
    """Opens mappings and instances that stand for a nested dataclass: `training: {seed: 1}` is `training.seed: 1`."""
    nested = {name for option in options(cls) for name in [".".join(option.keys[:-1])] if name}
    for where, name, value in given:
        if name not in nested:
            yield where, name, value
        elif dataclasses.is_dataclass(value):
            for keys, leaf in _leaves(value).items():
                yield where, ".".join((name, *keys)), leaf
        elif isinstance(value, Mapping):
            yield from _flatten(cls, [(where, f"{name}.{key}", item) for key, item in value.items()])
        else:
            raise ConfigError(
                f"{where}{name}: must be a group of options, as in `{name}: {{key: value}}`, got {value!r}"
            )


def _leaves(config: Any) -> dict[Keys, Any]:
    values: dict[Keys, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        inner = _leaves(value) if dataclasses.is_dataclass(value) else {(): value}
        values |= {(field.name, *keys): leaf for keys, leaf in inner.items()}
    return values


def _build(cls: type[T], values: Mapping[Keys, Any]) -> T:
    missing = [option.name for option in options(cls) if option.required and option.keys not in values]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: must be given - on the command line, in a --config file or as keywords"
        )
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, cls)):
        if dataclasses.is_dataclass(hints[field.name]):
            default = _default(field)
            start = {} if default is dataclasses.MISSING else _leaves(default)
            below = {keys[1:]: value for keys, value in values.items() if keys[0] == field.name}
            arguments[field.name] = _build(hints[field.name], start | below)
        elif (field.name,) in values:
            arguments[field.name] = values[(field.name,)]
    return cls(**arguments)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _from_file(cls: type, file: Path) -> dict[Keys, Any]:
    """Reads a YAML file through its nodes: they know their lines, and show a key that is given twice."""
    root = _root(file)
    groups = {".".join(option.keys[:depth]) for option in options(cls) for depth in range(1, len(option.keys))}
    given: dict[str, tuple[str, str, Any]] = {}
    waiting = [("", root)]
    while waiting:
        above, node = waiting.pop()
        if node is None:
            continue
        if node.id != "mapping":
            raise ConfigError(f"{file}:{node.start_mark.line + 1}: must be `key: value` lines")
        for key, value in node.value:
            name, where = f"{above}{key.value}", f"{file}:{key.start_mark.line + 1}: "
            if name in given:
                raise ConfigError(f"{where}{name}: given twice - keep one")
            if name in groups and value.id == "mapping":
                waiting.append((f"{name}.", value))
            else:
                given[name] = (where, name, _plain(value))
    return _collect(cls, given.values(), text=True)


def _root(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            data = stream.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror} - name an existing YAML file") from None
    if len(data) > _FILE_LIMIT:
        raise ConfigError(f"{file}: larger than {_FILE_LIMIT:,} bytes, so not a configuration file")
    return _yaml(data, f"{file}")


def _yaml(data: bytes | str, where: str) -> Any:
    """The root node of a YAML document, None for an empty one."""
    import yaml

    try:
        depth = 0
        for event in yaml.parse(data, Loader=yaml.SafeLoader):
            # An alias can stand for a billion values, or for itself; options need none.
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(f"{where}: aliases (*name) are not allowed - write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEPTH_LIMIT:
                raise ConfigError(f"{where}: nested too deeply to be a configuration")
        return yaml.compose(data, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise ConfigError(f"{place}: not YAML: {reason}") from None


def _plain(node: Any) -> Any:
    """A node's value with its scalars as text: the schema gives the types, so `no` is a language and 3e-4 a number."""
    if node.id == "sequence":
        return [_plain(item) for item in node.value]
    if node.id == "mapping":
        return {str(key.value): _plain(value) for key, value in node.value}
    return None if node.tag.endswith(":null") else node.value
