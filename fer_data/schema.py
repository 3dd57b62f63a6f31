"""Check what was parsed from JSON against Python types, and make dataclasses of it: the one schema reader of both packages.

In:  a type, and a value as json.loads gives it.
Out: the value, with dataclasses and tuples in place of objects and lists; ValueError names the first place that does not fit.

    dataclass          an object with these keys and no other
    TypedDict          an object with these keys; others may be there and are kept
    dict[str, T]       an object whose values are T
    list[T]            a list
    tuple[T, ...]      a list, returned as a tuple
    T | None           null, or T
    bool int float str dict   itself; a whole number is a float too, true is no number
"""

import functools
import types
import typing
from dataclasses import fields, is_dataclass
from reprlib import repr as shortened

from fer_data.text import unknown

__all__ = ["read"]

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "an object", list: "a list"}


def read(kind, value, where: str = ""):
    """Return `value` as `kind`; `where` begins the name of each place in messages.

    Raises ValueError for a missing or unknown key or a value of another type; whatever a dataclass raises passes through.

    >>> read(dict[str, tuple[int, ...]], {"a": [1, 2]})
    {'a': (1, 2)}
    >>> read(dict[str, list[int]], {"a": [1, "2"]}, "sizes")
    Traceback (most recent call last):
    ValueError: sizes.a[1] must be a whole number, not '2'
    """
    if isinstance(kind, types.UnionType):
        return None if value is None else read(next(one for one in kind.__args__ if one is not type(None)), value, where)
    base, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    keyed = is_dataclass(base) or typing.is_typeddict(base)
    needed = dict if keyed else list if base is tuple else base
    if isinstance(value, bool) != (needed is bool) or not isinstance(value, (int, float) if needed is float else needed):
        raise ValueError(f"{where or 'it'} must be {_WORDS[needed]}, not {shortened(value)}")
    if keyed:
        hints = _hints(base)
        _check_keys(hints, value, where, closed=is_dataclass(base))
        return base(**value | {name: read(hint, value[name], _inside(where, name)) for name, hint in hints.items()})
    if needed is list and inner:
        return base(read(inner[0], one, f"{where}[{index}]") for index, one in enumerate(value))
    if needed is dict and inner:
        return {key: read(inner[1], one, _inside(where, key)) for key, one in value.items()}
    return value


@functools.cache
def _hints(kind) -> dict:
    hints = typing.get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)} if is_dataclass(kind) else hints     # no class variable


def _check_keys(hints: dict, value: dict, where: str, closed: bool) -> None:
    within = f"{where}: " if where else ""
    for name in value if closed else ():
        if name not in hints:
            raise ValueError(f"{within}{unknown('key', name, hints)}")
    for name in hints:
        if name not in value:
            raise ValueError(f"{within}key {name!r} is missing")


def _inside(where: str, name: str) -> str:
    shown = name if name.isprintable() else repr(name)                   # a key of a damaged file may hold a line break
    return f"{where}.{shown}" if where else shown
