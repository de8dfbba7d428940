"""YAML files as checked sections: every fault is one line that says what to do."""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

PLAIN_WORDS = {  # what pydantic says, and what a reader of YAML knows
    "^Input should be": "has to be",
    "a valid dictionary.*": "keys and values",
    "a valid tuple": "a list",
    "a valid integer": "an integer",
    "a valid ": "a ",
}


class ConfigError(ValueError):
    """A configuration that cannot be used: file, key, what came, and the remedy."""


class Section(BaseModel):
    """A part of a configuration: frozen, without unknown keys or repaired values."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, data: Any) -> Any:
        known = list(cls.model_fields)
        for key in data if isinstance(data, Mapping) else ():
            if key not in known:
                raise ValueError(f"unknown key {key!r}: {suggestion(key, known)}")
        return data

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: Any) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("yes or no is no value of this key (put a name in quotes)")
        return value


S = TypeVar("S", bound=Section)


def suggestion(word: Any, known: Iterable[str]) -> str:
    """The nearest known word, or all of them if none is near."""
    words = list(known)
    near = difflib.get_close_matches(str(word), words, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(map(repr, near)) + "?"
    return f"use one of {', '.join(words)}"


def read_section(path: str | Path, section: type[S], **defaults: Any) -> S:
    """The section that a YAML file holds; `defaults` stand in for keys left out.

    Paths in the file are relative to its folder.

    Raises:
        ConfigError: the file cannot be read or is no YAML mapping, a key is unknown,
            missing or stands twice, or a value breaks a rule.
    """
    path = Path(path)
    data = {**defaults, **read_yaml(path)}
    try:
        return section.model_validate(data, context={"folder": path.parent.resolve()})
    except ValidationError as error:
        faults = error.errors(include_url=False)
        more = f" ({len(faults) - 1} more after this one)" if len(faults) > 1 else ""
        raise ConfigError(f"{path}: {_fault(faults[0])}{more}") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping of a YAML file of plain values.

    Raises:
        ConfigError: the file cannot be read, is no YAML, is not a mapping, or has a key
            twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        repeated = _repeated_key(node, set())
        if repeated is not None:
            line = repeated.start_mark.line + 1
            raise ConfigError(
                f"{path}, line {line}: key {repeated.value!r} stands twice: keep one"
            )
        data = yaml.safe_load(text)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: no valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: no valid YAML: {reason}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, got {data!r:.60}")
    return data


def _repeated_key(node: yaml.Node | None, seen: set[int]) -> yaml.ScalarNode | None:
    """The first key that stands twice in one mapping (an alias is visited once)."""
    if node is None or id(node) in seen or isinstance(node, yaml.ScalarNode):
        return None
    seen.add(id(node))
    children = node.value
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    return key
                keys.add(key.value)
        children = [value for _, value in node.value]
    found = (_repeated_key(child, seen) for child in children)
    return next((key for key in found if key is not None), None)


def _fault(error: ErrorDetails) -> str:
    """One line: path of the key, the rule, and what came."""
    place = ""
    for part in error["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    if error["type"] == "missing":
        return f"{place}: this key is required: add it"
    rule = error["msg"].removeprefix("Value error, ")
    for words, plain in PLAIN_WORDS.items():
        rule = re.sub(words, plain, rule)
    came = error["input"]
    if error["type"] != "value_error" or not isinstance(came, Mapping | BaseModel):
        rule += f", got {came!r:.80}"
    return " ".join(f"{place}: {rule}".removeprefix(": ").split())


def is_stored(info: Any) -> bool:  # pydantic's ValidationInfo
    """Whether a configuration is read again that was checked when its campaign began.

    Its files may have moved since, and who only looks need not load a structure.
    """
    return bool((info.context or {}).get("stored"))


def _existing_file(path: Path, info: Any) -> Path:
    folder = (info.context or {}).get("folder", Path.cwd())
    full = Path(folder) / path.expanduser()
    if not full.is_file() and not is_stored(info):
        raise ValueError(f"there is no file {full} (paths start from the YAML file)")
    return full


ExistingFile = Annotated[Path, AfterValidator(_existing_file)]
