"""What every config shares: frozen, strict about keys and types, and one clear sentence when something is wrong."""

import math
import numbers
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, model_serializer
from pydantic._internal._model_construction import ModelMetaclass
from pydantic_core import ErrorDetails

from llc import own_code, trusted
from llc.errors import InvalidInput, LLCError, did_you_mean, shown, shown_name

Table = dict[str, Any]


class InvalidConfig(InvalidInput):
    """A config that cannot be used; `detail` lets an enclosing config name the key in full."""

    detail: ErrorDetails | None = None


class Config(BaseModel):
    """A frozen table of settings; `to_table` and `from_table` are inverse to each other and fit TOML and JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            if isinstance(value, str) and any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
                raise InvalidInput(f"{name} = {shown(value)} given, expected text without line breaks or control marks")
        try:
            super().__init__(**{name: self._as_declared(name, _plain(value)) for name, value in values.items()})
        except ValidationError as error:
            detail = _innermost(error)
            refused = InvalidConfig(_sentence(detail, type(self)))
            refused.detail = detail
            raise refused from None

    def __eq__(self, other: object) -> bool:
        """Settings alone: what is kept beside them, such as a task's vectors, follows from these."""
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in type(self).model_fields)))

    @classmethod
    def _as_declared(cls, name: str, value: Any) -> Any:
        """A list as a tuple where the setting is one: files and options have lists only."""
        field = cls.model_fields.get(name)
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        return tuple(value) if isinstance(value, list) and any(get_origin(kind) is tuple for kind in kinds) else value

    def to_table(self) -> Table:
        """Plain nested dict, with lists for tuples; keys whose value is None are left out.

        Raises:
            InvalidInput: a None where the default is another value, which no file could tell from it.
        """
        table = self.model_dump()
        for name, field in type(self).model_fields.items():
            if table[name] is None and not field.is_required() and field.default is not None:
                raise InvalidInput(f"{name} = None given, whose default is {field.default!r}: give a value instead")
        return _without_none(table)

    @classmethod
    def from_table(cls, table: Table) -> Self:
        """The config that a table stands for.

        Raises:
            InvalidConfig: an unknown key (named, with the nearest known one) or a value of the wrong type or range.
        """
        return cls(**table)

    def override(self, settings: dict[str, Any]) -> Self:
        """A copy with some settings replaced, by dotted name: `{"training.steps": 2000}`.

        Raises:
            InvalidConfig: an unknown key or a value that does not fit.
        """
        table = self.to_table()
        for key, value in settings.items():
            self.check_key(key)
            *path, last = key.split(".")
            place = table
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
        return type(self).from_table(table)

    def check_key(self, key: str) -> None:
        """Raise InvalidInput, with the nearest name, unless `key` is the dotted name of a setting of this config."""
        known = self.setting_names()
        inside = any(key.startswith(f"{name}.") for name in known)  # of a free table, such as `model.arguments`
        if key not in known and not (inside and self._is_table(key)):
            raise InvalidInput(f"unknown key {shown_name(key)}; {did_you_mean(key, known)}")

    def setting_names(self) -> list[str]:
        """Dotted names of every setting that this config has."""
        found = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            found += [f"{name}.{key}" for key in value.setting_names()] if isinstance(value, Config) else [name]
        return found

    def _is_table(self, key: str) -> bool:
        """Whether a key leads through settings into a free table."""
        place: Any = self
        for part in key.split(".")[:-1]:
            place = getattr(place, part, None) if isinstance(place, Config) else place.get(part, {})
            if not isinstance(place, Config | dict):
                return False
        return isinstance(place, dict)


class _NamedKind(ModelMetaclass):
    """Lets a class give its kind as `kind = "mine"` or `class Mine(Task, kind="mine")`: pydantic wants a type too."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], kind: str | None = None, **others: Any
    ) -> Any:
        given = namespace.get("kind") if kind is None else kind
        types = namespace.get("__annotations__", {})
        if given is not None and not isinstance(given, str):
            raise InvalidInput(f"kind = {shown(given)} of class {name} given, expected text")
        if given is not None and "kind" not in types:
            namespace |= {"kind": given, "__annotations__": {**types, "kind": Literal[given]}}
        return super().__new__(cls, name, bases, namespace, **others)


class Kind(Config, metaclass=_NamedKind):
    """A config that comes in several kinds: a subclass with a `kind` of its own is known by it from then on.

    What it is a kind of is the class that has `Kind` itself as its base, such as `llc.tasks.Task`. The table of a kind
    that is defined outside of this package says in which file, so that a folder can be opened by anyone who has it.
    """

    kind: str
    known: ClassVar[dict[str, type["Kind"]]]

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        if Kind in cls.__bases__:
            cls.known = {}
            return
        name = cls.model_fields["kind"].default
        if not isinstance(name, str):  # a base of kinds, and none itself
            return
        before = cls.known.get(name)
        if before is not None and _place(before) != _place(cls) and not _copied(before, cls):
            raise InvalidInput(f"kind = {name} of {_place(cls)} is that of {_place(before)} already; choose another")
        cls.known[name] = cls

    @classmethod
    def of(cls, table: Any) -> Any:
        """The config of the kind that a table names; anything else is returned as it is.

        Raises:
            InvalidInput: there is no such kind, or its file is not where it was.
            UntrustedCode: its file would have to be imported, and may not be.
        """
        if not isinstance(table, dict):
            return table
        table = dict(table)
        file, kind = table.pop("defined_in", None), table.get("kind")
        if not isinstance(file, str | None) or not isinstance(kind, str | None):
            raise InvalidInput(f"kind = {shown(kind)} and defined_in = {shown(file)} given, expected text")
        there = own_code.file_of(cls.known[kind]) if kind in cls.known else None
        if file is not None and there is not None and Path(file).exists() and not own_code.same_file(file, there):
            raise InvalidInput(
                f"kind = {kind} is defined in {file}, and in {there}, which is loaded; rename one of them"
            )
        if kind not in cls.known and file is not None:
            try:
                own_code.load_file(file)
            except (LLCError, KeyboardInterrupt):
                raise
            except BaseException as error:  # whatever is wrong with other people's files, `sys.exit()` too
                raise InvalidInput(f"kind = {kind} is defined in {file}, which cannot be imported ({error})") from None
        if kind not in cls.known:
            raise InvalidInput(f"kind = {kind!r} given; {did_you_mean(str(kind), cls.known)} (import your own first)")
        with trusted.of_table():
            return cls.known[kind](**table)

    @model_serializer(mode="wrap")
    def _with_file(self, serialise: Callable[[Any], dict]) -> dict:
        table, file = serialise(self), own_code.file_of(type(self))
        return table if file is None else {**table, "defined_in": file}

    @classmethod
    def from_table(cls, table: Table) -> Any:
        """See `Config.from_table`; of the kind that the table names."""
        return cls.of(table)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # By its table: a class in a file of somebody's cannot be imported by name where it is unpickled.
        family = next(base for base in type(self).__mro__ if Kind in base.__bases__)
        table = self.to_table()
        return _unpickled, (family, table, trusted.passed_on(list(trusted.code_in(table))))


def _unpickled(family: type[Kind], table: Table, code: frozenset[trusted.Key]) -> Kind:
    """A config in another process, which may run what this one may."""
    trusted.take(code)
    return family.of(table)


def _copied(one: type, other: type) -> bool:
    """Whether two classes are one, of a file and its copy."""
    files = [own_code.file_of(kind) for kind in (one, other)]
    return one.__qualname__ == other.__qualname__ and None not in files and own_code.same_file(*files)  # type: ignore[arg-type]


def _place(kind: type) -> str:
    return f"{own_code.file_of(kind) or kind.__module__}:{kind.__qualname__}"


def parse_setting(text: str) -> tuple[str, Any]:
    """`training.steps=2000` as a name and a value, written as in TOML; what is no TOML value is a plain string.

    Raises:
        InvalidInput: there is no `=` in it.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"--set {text} given, expected KEY=VALUE such as training.steps=2000")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key.strip(), value.strip()


def _parse_num_tasks(value: object) -> object:
    if value in ("inf", math.inf):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


# M: a whole number, or None for the Gaussian prior (M = ∞), which files and the command line write as "inf".
NumTasks = Annotated[
    int | None,
    BeforeValidator(_parse_num_tasks),
    PlainSerializer(lambda num_tasks: "inf" if num_tasks is None else num_tasks),
]


def all_keys(config: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of every setting below a config, such as `training.steps`."""
    keys = []
    for name, field in config.model_fields.items():
        annotation = field.annotation
        members = [member for member in (annotation, *get_args(annotation)) if isinstance(member, type)]
        nested = [member for member in members if issubclass(member, BaseModel)]
        for member in nested:
            kinds = member.known.values() if issubclass(member, Kind) else [member]
            keys += [key for kind in kinds for key in all_keys(kind, f"{prefix}{name}.")]
        if not nested:
            keys.append(prefix + name)
    return keys


def _plain(value: Any) -> Any:
    """Numbers of other libraries, such as NumPy's, as Python's own: strict types would refuse them."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_plain(one) for one in value)
    if type(value) in (bool, int, float):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def _without_none(table: Table) -> Table:
    # Not `exclude_none`: that looks before serialising, and would drop an infinite number of tasks.
    return {
        key: _without_none(value) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
        for key, value in table.items()
        if value is not None
    }


def _innermost(error: ValidationError) -> ErrorDetails:
    """The first thing that is wrong; a nested config's own error is unwrapped and its key made whole."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, InvalidConfig) and inner.detail is not None:
        whole = {**inner.detail, "loc": (*first["loc"], *inner.detail["loc"])}
        return cast(ErrorDetails, whole)
    return first


def _sentence(detail: ErrorDetails, config: type[BaseModel]) -> str:
    key = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"unknown key {shown_name(key)}; {did_you_mean(key, all_keys(config))}"
    if detail["type"] == "missing":
        hint = '; give the class one of its own: kind = "my-kind"' if key == "kind" else ""
        return f"{key} is missing{hint}"
    reason = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    reason = reason.replace("a valid integer", "a whole number").replace("a valid ", "a ")
    if isinstance(detail["input"], dict | BaseModel):  # about the whole config: the validator names the keys
        return reason
    return f"{key} = {shown(detail['input'])} given, {reason[0].lower() + reason[1:]}"
