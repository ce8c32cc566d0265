"""What every config shares: frozen, strict about keys and types, and one clear sentence when something is wrong."""

import math
import numbers
import tomllib
from typing import Annotated, Any, Self, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError
from pydantic_core import ErrorDetails

from llc.errors import InvalidInput, did_you_mean

Table = dict[str, Any]


class InvalidConfig(InvalidInput):
    """A config that cannot be used; `detail` lets an enclosing config name the key in full."""

    def __init__(self, detail: ErrorDetails, config: type[BaseModel]) -> None:
        super().__init__(_sentence(detail, config))
        self.detail = detail


class Config(BaseModel):
    """A frozen table of settings; `to_table` and `from_table` are inverse to each other and fit TOML and JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**{name: _plain(value) for name, value in values.items()})
        except ValidationError as error:
            raise InvalidConfig(_innermost(error), type(self)) from None

    def to_table(self) -> Table:
        """Plain nested dict; keys whose value is None are left out."""
        return _without_none(self.model_dump())

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
        known = all_keys(type(self))
        table = self.to_table()
        for key, value in settings.items():
            if key not in known:
                raise InvalidInput(f"unknown key {key}; {did_you_mean(key, known)}")
            *path, last = key.split(".")
            place = table
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
        return type(self).from_table(table)


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
    except tomllib.TOMLDecodeError:
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
            keys += all_keys(member, f"{prefix}{name}.")
        if not nested:
            keys.append(prefix + name)
    return keys


def _kinds(config: type[BaseModel]) -> set[str]:
    """What `kind` may be in any config below this one."""
    found: set[str] = set()
    for name, field in config.model_fields.items():
        members = [member for member in (field.annotation, *get_args(field.annotation)) if isinstance(member, type)]
        for member in members:
            if issubclass(member, BaseModel):
                found |= _kinds(member)
        if name == "kind":
            found.add(field.default)
    return found


def _plain(value: Any) -> Any:
    """Numbers of other libraries, such as NumPy's, as Python's own: strict types would refuse them."""
    if isinstance(value, list | tuple):
        return type(value)(_plain(one) for one in value)
    if type(value) in (bool, int, float):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def _without_none(table: Table) -> Table:
    # Not `exclude_none`: that looks before serialising, and would drop an infinite number of tasks.
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def _innermost(error: ValidationError) -> ErrorDetails:
    """The first thing that is wrong; a nested config's own error is unwrapped and its key made whole."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, InvalidConfig):
        whole = {**inner.detail, "loc": (*first["loc"], *inner.detail["loc"])}
        return cast(ErrorDetails, whole)
    return first


def _sentence(detail: ErrorDetails, config: type[BaseModel]) -> str:
    # A union's members are told apart by `kind`, which is no part of a key.
    key = ".".join(str(part) for part in detail["loc"] if part not in _kinds(config))
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key}; {did_you_mean(key, all_keys(config))}"
    if detail["type"] == "missing":
        return f"{key} is missing"
    reason = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    reason = reason.replace("a valid integer", "a whole number").replace("a valid ", "a ")
    if isinstance(detail["input"], dict | BaseModel):  # about the whole config: the validator names the keys
        return reason
    return f"{key} = {detail['input']!r} given, {reason[0].lower() + reason[1:]}"
