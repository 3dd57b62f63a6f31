"""Set any field of a configuration by its name: from a YAML file, or from texts such as `gan.lr=1e-4`.

In:  layers, each over the one before: the defaults of config.py, a preset, a YAML file, KEY=VALUE texts, named options.
Out: a TrainConfig. settings_text.py lists all fields, and says what differs from a preset.

The type of a value comes from the dataclass, never from YAML's own rules: there 1e-4 is text and `no` is false.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path

from fer_data.text import either, listed, meant, unknown
from fer_model.config import AS_BASELINE, METHODS, OFFICIAL, STAGES_OF, SYNTHESISERS, HeadConfig, TrainConfig, preset, shown
from fer_model.errors import ConfigError

__all__ = ["DEFAULT_PRESET", "ELSEWHERE", "LATER", "Given", "alternatives", "configure", "idle", "values_of", "kinds", "other_budget",
           "parts_used", "read_file", "read_set", "read_value", "refuse_other_seed", "sections", "words_of"]

DEFAULT_PRESET = "small"
# Fields that are not set by their name, and what sets them.
ELSEWHERE = {
    "fold": "set by --fold, or by --folds where there are several", "init": "set by --init, or by --weights",
    "own.network": "set by --method FILE.py:Class", "own.sha256": "set by --method FILE.py:Class",
    "tested": "false in `fer-model sweep --selection validation`",
    "network.channels": "decided by the prepared faces (fer-data prepare --colour)",
}
LATER = ("init", "fold_rule")         # settings that a command may decide when all layers are read
_BUDGETS = ("epochs", "kimg")         # of a stage: one of the two is none
_NONE = ("none", "null", "~")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_TAG = "tag:yaml.org,2002:"
_SIMPLE_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "value", "merge")}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_LISTS = {float: "a list of numbers", str: "a list of words"}


@dataclass(frozen=True)
class Given:
    """A value as it was written, and where."""

    raw: str | tuple[str, ...]        # a tuple: a YAML list
    where: str                        # `--set gan.lr=1e-4`, `run.yaml, line 3`


# --- fields and their types


@cache
def kinds() -> dict[str, object]:
    """Return the type of each field by its key, in the order of config.py."""
    run = {one.name: kind for one, kind in _hints(TrainConfig) if not is_dataclass(kind)}
    return run | {f"{part}.{one.name}": kind for part, inner in sections().items() for one, kind in _hints(inner)}


def _hints(kind: type) -> list[tuple[Field, object]]:
    hints = typing.get_type_hints(kind)
    return [(one, hints[one.name]) for one in fields(kind)]


def sections() -> dict[str, type]:
    """Return the dataclass of each part of a configuration: network, judges, gan, ..."""
    return {one.name: kind for one, kind in _hints(TrainConfig) if is_dataclass(kind)}


def values_of(config: TrainConfig) -> dict[str, object]:
    """Return every field of a configuration by its key: `gan.lr` -> 2e-4."""
    values = asdict(config)
    nested = {f"{part}.{name}": value for part, inner in values.items() if isinstance(inner, dict) for name, value in inner.items()}
    return {key: nested[key] if "." in key else values[key] for key in kinds()}


def _built(values: Mapping[str, object]) -> TrainConfig:
    parts: dict[str, dict] = {}
    for key, value in values.items():
        part, _, name = key.rpartition(".")
        parts.setdefault(part, {})[name] = value
    classes = sections()
    return TrainConfig(**parts.pop(""), **{part: classes[part](**inner) for part, inner in parts.items()})


def _plain(kind) -> tuple[object, bool]:
    """Return a type without `| None`, and whether it was there."""
    if isinstance(kind, types.UnionType):
        return next(one for one in kind.__args__ if one is not type(None)), True
    return kind, False


def _known(key: str, where: str) -> str:
    """Return the key. Raises ConfigError, naming the nearest, if no field has that name."""
    if key in kinds():
        return key
    inside = [one for one in kinds() if one.startswith(f"{key}.")]
    if inside:
        raise ConfigError(f"{where}: {key} is a group of settings; set one of them, such as {inside[0]}")
    near = [one for one in kinds() if one.rpartition(".")[2] == key.rpartition(".")[2]] or meant(key, kinds())[:1]
    hint = f"did you mean {either(near)}?" if near else "`fer-model config` lists all"
    raise ConfigError(f"{where}: unknown setting {key!r}; {hint}")


def _settable(key: str, where: str) -> str:
    """Return the key. Raises ConfigError for an unknown one, and for a field that is not set by its name."""
    if _known(key, where) in ELSEWHERE:
        raise ConfigError(f"{where}: {key} is {ELSEWHERE[key]}")
    return key


# --- values


def read_value(key: str, given: Given) -> object:
    """Return what a text, or a list of texts, means for a field, by the field's own type.

    `none` is None where the field may be; a list is `0.7,0.6`, with brackets or without. Raises ConfigError for another type.
    """
    kind, optional = _plain(kinds()[key])
    raw = given.raw
    if optional and isinstance(raw, str) and raw.lower() in _NONE:
        return None
    if typing.get_origin(kind) is tuple:
        return tuple(_one(kind.__args__[0], text, key, given) for text in (_listed(raw) if isinstance(raw, str) else raw))
    if not isinstance(raw, str):
        raise ConfigError(f"{given.where}: {key} must be {words_of(kind)}, not a list")
    return _one(kind, raw, key, given)


def alternatives(text: str) -> list[str]:
    """Return `gan.lr=1e-4` and `gan.lr=2e-4` for `gan.lr=1e-4,2e-4`: commas in brackets part nothing.

    Raises ConfigError for an unknown key, and for a list without brackets.
    """
    key, given = read_set(text)
    found, depth = [""], 0
    for letter in str(given.raw):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    is_list = typing.get_origin(_plain(kinds()[key])[0]) is tuple
    bare = [one for one in found if one.strip()[:1] not in ("[", "(")]
    if is_list and len(found) > 1 and bare:
        raise ConfigError(f"{given.where}: {key} is a list; put brackets round each alternative, such as [{given.raw}]")
    if not is_list and len(bare) < len(found):
        raise ConfigError(f"{given.where}: {key} must be {words_of(kinds()[key])}; name alternatives between commas, without brackets")
    return [f"{key}={one.strip()}" for one in found]


def _listed(text: str) -> list[str]:
    """Return the items of `a,b`, `[a, b]` or `(a, b)`."""
    text = text.strip()
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1]
    return [part.strip().strip("'\"") for part in text.split(",")] if text.strip() else []


def _one(kind, text: str, key: str, given: Given):
    text = text.strip()
    if kind is str:
        return text
    if kind is bool and text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    several = "; `fer-model sweep` trains with several values in turn" if "," in text else ""
    raise ConfigError(f"{given.where}: {key} must be {words_of(kinds()[key])}, not {text!r}{several}")


def words_of(kind) -> str:
    """Return a field's type for people, as it comes after "must be"."""
    kind, optional = _plain(kind)
    words = _LISTS[kind.__args__[0]] if typing.get_origin(kind) is tuple else _WORDS[kind]
    return words + (", or none" if optional else "")


# --- layers


def read_set(text: str, option: str = "--set") -> tuple[str, Given]:
    """Return key and value of `gan.lr=1e-4`, split at the first `=`. Raises ConfigError for an unknown key."""
    key, equals, raw = text.partition("=")
    if not equals:
        raise ConfigError(f"{option} {text}: a name, = and a value are needed, such as {option} gan.lr=1e-4")
    where = f"{option} {text}"
    return _settable(key.strip(), where), Given(raw.strip(), where)


def _read_sets(texts: Sequence[str], option: str) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for key, given in (read_set(text, option) for text in texts):
        if key in found:
            raise ConfigError(f"{found[key].where} and {given.where}: {key} is given twice; keep one")
        found[key] = given
    return found


def read_file(path: Path) -> dict[str, Given]:
    """Return the settings of a YAML file by key: nested (`gan:` above `lr: 1e-4`) or with dots (`gan.lr: 1e-4`).

    Raises ConfigError for what is no YAML, an unknown key, and a key that is there twice: YAML readers take the last in silence.
    """
    import yaml

    try:
        root = yaml.compose(path.read_bytes(), Loader=yaml.SafeLoader)       # nodes: nothing is constructed, so nothing can run
    except yaml.YAMLError as error:
        raise ConfigError(f"reading {path}: not YAML ({' '.join(str(error).split())})") from error
    except RecursionError as error:
        raise ConfigError(f"reading {path}: nested too deeply; settings have two levels, such as gan: and in it lr:") from error
    found: dict[str, Given] = {}
    for key, node, where in [] if root is None else _pairs(root, path, ""):
        if key in found:
            raise ConfigError(f"{where}: {key} is there twice, first in {found[key].where}; keep one")
        found[_settable(key, where)] = Given(_raw(node, key, where), where)
    return found


def _pairs(node, path: Path, prefix: str):
    """Yield (key, value's node, place) of a mapping and of those in it, one level deep."""
    import yaml

    where = f"{path}, line {node.start_mark.line + 1}"
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{where}: settings are needed, such as gan: and in it lr: 1e-4")
    seen = set()
    for key_node, value in node.value:
        where = f"{path}, line {key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{where}: the name of a setting is needed before the colon")
        key = f"{prefix}{key_node.value}"
        if key in seen:
            raise ConfigError(f"{where}: {key} is there twice; keep one")
        seen.add(key)
        if isinstance(value, yaml.MappingNode) and not prefix:
            yield from _pairs(value, path, f"{key}.")
        else:
            yield key, value, where


def _raw(node, key: str, where: str) -> str | tuple[str, ...]:
    import yaml

    if node.tag not in _SIMPLE_TAGS:
        raise ConfigError(f"{where}: {key} has the type {node.tag}; plain values are read and no others")
    if isinstance(node, yaml.ScalarNode):
        return "none" if node.tag == f"{_TAG}null" else node.value
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return tuple(item.value for item in node.value)
    raise ConfigError(f"{where}: {key} must be a value, or a list of values")


def configure(
    named: Mapping[str, object] | None = None,    # key -> value, as options give them; None: not given
    file: str | Path | None = None,   # YAML
    sets: Sequence[str] = (),         # gan.lr=1e-4, ...
    methods: Sequence[str] = METHODS,         # that the command trains
    held_out: bool = True,            # False: on everybody, without a test fold
    option: str = "--set",            # what errors call `sets`
    undecided: Sequence[str] = LATER,         # settings that are decided later, or vary: what they may switch on is no error
) -> TrainConfig:
    """Return the configuration of all layers: default < preset < file < sets < named.

    The preset is that of the last layer that names one, else small. A stage's new budget, epochs or kimg, takes the place of the old
    one. Raises ConfigError for unknown keys, values of another type or out of range, and sets and named options that have no effect,
    as `idle` says.
    """
    named = {key: value for key, value in (named or {}).items() if value is not None}
    given_layers = (read_file(Path(file)) if file else {}, _read_sets(sets, option))
    read = [{key: read_value(key, given) for key, given in layer.items()} for layer in given_layers]
    layers = [*read, named]
    name = next((layer["preset"] for layer in reversed(layers) if "preset" in layer), DEFAULT_PRESET)
    start = values_of(preset(str(name)))
    values = dict(start)
    for layer in layers:
        for key, value in layer.items():
            other = other_budget(key)
            if other and value is not None and layer.get(other) is None:
                values[other] = None
            values[key] = value
    for method in (read[1].get("method", methods[0]), values["method"]):
        if method not in methods:
            raise ConfigError(f"configuration: {unknown('method', str(method), methods)}")
    config = _built(values | {"preset": name} | ({"fold": None} if values["method"] == "pretrain" or not held_out else {}))
    changed = {key for key in values if values[key] != start[key]}
    asked = [key for key in (*read[1], *named) if key in changed or (key in named and key in _CHOOSE)]
    _refuse_idle(config, asked, undecided)
    return config


def refuse_other_seed(config: TrainConfig, seeds: Sequence[int]) -> None:
    """Raise ConfigError if a configuration, as a file may, names a seed that is none of those that a command trains with."""
    if config.seed not in (TrainConfig().seed, *seeds):
        given = ",".join(map(str, seeds))
        what = f"configuration: seed is {config.seed}, and --seeds {given}"
        raise ConfigError(f"{what}; give --seeds {config.seed}, or leave the seed out of the file")


def other_budget(key: str) -> str | None:
    """Return the other of a stage's two budgets; None for a key that is no budget."""
    part, _, name = key.rpartition(".")
    return f"{part}.{_BUDGETS[1 - _BUDGETS.index(name)]}" if name in _BUDGETS else None


# Settings of what a method trains that nothing reads: of a stage; of the head by its variant; of the networks by the method.
_IDLE_OF_STAGE = {
    "judges": ("average_half_kimg",), "critics": ("average_half_kimg",),         # the weights as they were last
    "recogniser": ("carried_lr", "frozen"),                                      # it starts from random weights
}
_OF_TAPS, _OF_MLP, _OF_SVM = (
    ("taps", "local_channels", "local_features", "local_dropout", "prediction"), ("mlp_features",), ("svm_c", "svm_views"),
)
_IDLE_OF_HEAD = {
    **dict.fromkeys(("both", "taps"), (*_OF_MLP, *_OF_SVM)), "f-mlp": (*_OF_TAPS, *_OF_SVM),
    "f-svm": tuple(one.name for one in fields(HeadConfig) if one.name not in ("variant", *_OF_SVM)),
}
_OF_CODES, _OF_D = ("noise", "code_scale"), ("d_without_norm", "d_spectral_norm")
# `width` is missing where only our baseline's kind is trained: one line of settings serves several methods (benchmarks/demo.sh).
_IDLE_OF_NETWORK = {
    "deae": (*_OF_CODES, *_OF_D), "deae-head": (*_OF_CODES, *_OF_D), "derl": (*_OF_CODES, "d_spectral_norm"),
    **dict.fromkeys(("iacnn", "cnn"), ("representation", "residual", *_OF_CODES, *_OF_D)),
    **dict.fromkeys(("timm", "own"), ("representation", "residual", "width", "init_std", *_OF_CODES, *_OF_D)),
}
# Settings that choose a network: whoever gives one as an option wants that one, though it be the preset's. `--set` has any printed value.
_CHOOSE = ("timm.arch", "head.variant")
# Settings that others switch off: which, and at what values; all of them have to.
_SWITCHES = {
    "fold_seed": {"fold_rule": ("manifest", OFFICIAL)},
    **{name: {"selection": ("last",)} for name in ("validation_share", "validation_every")},
    **{f"{part}.{name}": {"init": (None,)} for part in ("cnn", "timm", "own") for name in ("carried_lr", "frozen")},
    **{f"{part}.swap_part": {f"{part}.identity_swap": (0,)} for part in ("cnn", "recogniser")},
    **{f"recogniser.{name}": {"recogniser.synthesised": (0,)} for name in ("people", "least_agreement")},
    "gan.d_strong_above": {"gan.d_interval": (1,), "gan.d_interval_strong": (1,)},
    "iacnn.margin": {"iacnn.contrast_expression": (0,), "iacnn.contrast_identity": (0,)},
}


def idle(config: TrainConfig, key: str, undecided: Sequence[str] = ()) -> str | None:
    """Return what a setting has no effect on, in words, such as `method cnn, which trains cnn`; None: it has one, or `undecided` settings
    may give it one.
    """
    part, _, name = key.rpartition(".")
    baseline = getattr(config, config.stages[-1])
    shown_as_many = config.stages[-1] in AS_BASELINE and all(getattr(baseline, budget) is None for budget in _BUDGETS)
    if shown_as_many and part in ("gan", "head") and name in _BUDGETS:
        return None
    method = f"method {config.method}"
    if part not in ("", "network", *parts_used(config.method)):
        return f"{method}, which trains {listed(config.stages)}"
    if part == "head":
        return f"head {config.head.variant}" if name in _IDLE_OF_HEAD[config.head.variant] else None
    of_part = _IDLE_OF_NETWORK.get(config.method, ()) if part == "network" else _IDLE_OF_STAGE.get(part, ())
    if name in of_part:
        return f"{method}: nothing in it reads this setting"
    switches = _SWITCHES.get(key, {})
    if not switches or set(switches) & set(undecided):
        return None
    values = values_of(config)
    if any(values[one] not in off for one, off in switches.items()):
        return None
    return f"a run with {listed(f'{one} {shown(values[one])}{_how(one)}' for one in switches)}"


def _how(key: str) -> str:
    return f" ({ELSEWHERE[key]})" if key in ELSEWHERE else ""


def _refuse_idle(config: TrainConfig, changed: Sequence[str], undecided: Sequence[str]) -> None:
    """Raise ConfigError if one of these keys has no effect."""
    for key in changed:
        on = idle(config, key, undecided)
        if on is not None:
            raise ConfigError(f"configuration: {key} has no effect on {on}")


def parts_used(method: str) -> tuple[str, ...]:
    """Return the parts of a configuration that a method trains, in order: judges, gan, head."""
    stages = STAGES_OF[method]
    return (*(["judges"] if set(stages) & set(SYNTHESISERS) else []), *stages)
