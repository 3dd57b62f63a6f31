"""List every setting of a configuration with type, allowed values and help; say what differs from its preset.

In:  a TrainConfig.
Out: to_yaml: all settings as YAML with comments, which settings.py reads back. differences, describe: what differs from the preset,
     for people; name_suffix: the same for a folder's name.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fer_data.field_comments import fields_of
from fer_data.text import either
from fer_model.config import PRESETS, STAGES_OF, TrainConfig, resolve_budgets, shown, to_lines
from fer_model.runs.differences import set_otherwise, told_settings
from fer_model.settings import ELSEWHERE, configure, kinds, other_budget, parts_used, sections, values_of, words_of

__all__ = ["Setting", "Settings", "describe", "differences", "name_suffix", "of_layers", "of_run", "settings_of", "to_yaml"]

_IN_NAME = {"fold_rule", "fold_seed", "seed", "selection", "head.variant", "timm.arch"}    # a run's name has words for them
_LONGEST_SUFFIX = 60                  # characters


@dataclass(frozen=True)
class Setting:
    """One field of a configuration, for people."""

    key: str                          # gan.lr
    value: object
    default: object                   # of config.py: that of preset paper
    kind: str                         # a number; a whole number, or none; a list of numbers; ...
    allowed: str                      # above 0; other or any; "" for anything of its type
    help: str
    set_by: str                       # "" : by its name; else the option that sets it, or what it follows from


def settings_of(config: TrainConfig, follow: Collection[str] = ()) -> list[Setting]:
    """Return every field of a configuration with its value, type, allowed values and help; those in `follow` come from the preset."""
    classes = {"": TrainConfig, **sections()}
    comments = {f"{part}.{one.name}".lstrip("."): one.comment for part, kind in classes.items() for one in fields_of(kind)}
    defaults, values, found = values_of(TrainConfig()), values_of(config), []
    for key, kind in kinds().items():
        part, _, name = key.rpartition(".")
        rule = classes[part].RULES.get(name)
        allowed = either(PRESETS) if key == "preset" else rule.words if rule else ""
        set_by = "as the preset has it" if key in follow else ELSEWHERE.get(key, "")
        told = words_of(kind), allowed, _first_sentence(comments[key]), set_by
        found.append(Setting(key, values[key], defaults[key], *told))
    return found


def _first_sentence(text: str) -> str:
    """Return as much of a comment as fits one line of help.

    >>> _first_sentence("lambda_1 .. L_5 of eq. (3). More")
    'lambda_1 .. L_5 of eq. (3)'
    """
    return re.split(r"(?<![. ])\. (?=[A-Z])", text)[0].rstrip(".")


@dataclass(frozen=True)
class Settings:
    """Every setting of a configuration, for the console or as JSON."""

    config: TrainConfig
    of: str                           # what it is the configuration of
    follow: frozenset[str] = frozenset()      # settings that come from the preset

    def to_json(self) -> dict:
        """Return each setting with value, default, type, allowed values and help."""
        return {"of": self.of, "settings": [asdict(one) for one in settings_of(self.config, self.follow)]}

    def __rich__(self):
        """Return the YAML as it is: no colours, nothing wrapped, so that it can be kept in a file."""
        from rich.text import Text

        return Text(to_yaml(self.config, self.of, self.follow).rstrip(), no_wrap=True, overflow="ignore")


def of_layers(*layers) -> Settings:
    """Return the settings that settings.configure makes of these layers, of any method."""
    config = configure(*layers, methods=tuple(STAGES_OF))
    changed = ", ".join(f"{key} {shown(value)}" for key, (value, _) in differences(config).items())
    return Settings(config, f"Preset {config.preset}, method {config.method}" + (f"; changed: {changed}" if changed else ""))


def of_run(run: Path) -> Settings:
    """Return what a run was trained with. Raises RunError if the folder holds none."""
    from fer_model.runs.folder import RunFolder

    config, content = RunFolder(run).read_config()
    of = f"{run} on {content['dataset']}, started by {content['code_version']}"
    return Settings(config, of, _budgets_of_preset(config, content["n_train"]))


def _budgets_of_preset(config: TrainConfig, n_train: int) -> frozenset[str]:
    """Return the budgets of a run that its preset gives it: no command that takes its settings has changed them."""
    resolved, start, found = resolve_budgets(config, n_train), PRESETS.get(config.preset, TrainConfig()), []
    for part in (key.removesuffix(".kimg") for key in kinds() if key.endswith(".kimg")):
        theirs = getattr(start, part)
        asked = replace(config, **{part: replace(getattr(config, part), epochs=theirs.epochs, kimg=theirs.kimg)})
        if resolve_budgets(asked, n_train) == resolved:
            config, found = asked, [*found, f"{part}.epochs", f"{part}.kimg"]
    return frozenset(found)


def to_yaml(config: TrainConfig, of: str, follow: Collection[str] = ()) -> str:
    """Return every setting as YAML, each with a comment: type, allowed values, help. `read_file` reads it."""
    lines = [
        f"# {of}. Give it back with --config FILE; a line that you delete keeps the preset's value.",
        "# `open`: the paper does not say. `in paper`: the value in preset paper. Lines that begin with # are set otherwise, as they say.",
    ]
    section = ""
    for one in settings_of(config, follow):
        part, _, name = one.key.rpartition(".")
        if part != section:
            idle = "" if part == "network" or part in parts_used(config.method) else f"      # method {config.method} does not train it"
            lines += ["", f"{part}:{idle}"]
            section = part
        value = f"{'# ' * bool(one.set_by)}{'  ' * bool(part)}{name}: {_in_yaml(one.value)}"
        lines.append(f"{value:<32}  # {_told(one)}")
    return "\n".join(lines) + "\n"


def _told(one: Setting) -> str:
    """Return the comment behind a value: `a number, above 0; in paper 1e-4 | Adam's step size`."""
    few = one.kind.startswith(("text", "a list")) or " or " in one.allowed
    none = ", or none" * one.kind.endswith("or none")
    words = one.kind if not one.allowed else f"{one.allowed}{none}" if few else f"{one.kind.removesuffix(none)}, {one.allowed}{none}"
    default = "" if one.value == one.default or one.key == "preset" else f"; in paper {shown(one.default)}"
    return f"{words}{default}{f'; {one.set_by}' if one.set_by else ''} | {one.help}"


def _in_yaml(value) -> str:
    """Return a value so that any reader of YAML gives it the same type: 1.0e-05, not 1e-05; null, not none."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_in_yaml, value))}]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")
    return "null" if value is None else shown(value)


# --- what differs from the preset


def differences(config: TrainConfig) -> dict[str, tuple[object, object]]:
    """Return the settings that differ from the preset: key -> (value, the preset's). A budget that gave way to another is none."""
    found = set_otherwise(values_of(config), values_of(PRESETS.get(config.preset, TrainConfig())))
    return {key: pair for key, pair in found.items() if pair[0] is not None or other_budget(key) not in found}


def name_suffix(config: TrainConfig, always: Sequence[str] = ()) -> str:
    """Return what tells a configuration from others of its preset, as part of a folder's name; "" if it is the preset.

    `-gan.lr1e-4-head.dropout0.3`; where that gets long the first of them, how many there are, and a hash of all. `always` names
    settings that stand there whether they differ or not.
    """
    values = values_of(config)
    changed = [key for key in differences(config) if key not in _IN_NAME]
    found = {key: values[key] for key in values if key in changed or key in always}
    parts = [f"-{key}{_in_name(value)}" for key, value in found.items()]
    whole = "".join(parts)
    if len(whole) <= _LONGEST_SUFFIX:
        return whole
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:8]
    return f"{parts[0] if len(parts[0]) <= _LONGEST_SUFFIX else ''}-{len(parts)}settings-{digest}"


def _in_name(value) -> str:
    """Return a value behind its key: 1e-4, _cosine, _conv12_conv23."""
    if isinstance(value, tuple):
        return "".join(f"_{shown(item)}" for item in value) or "_empty"
    return shown(value) if isinstance(value, int | float) and not isinstance(value, bool) else f"_{shown(value)}"


def describe(config: TrainConfig, changed: Mapping[str, tuple[object, object]]) -> list[str]:
    """Return a configuration for people, a line each: what differs from the preset, then every field of what is trained.

    `changed` is that of `differences`, before budgets and precision were resolved.
    """
    return [f"preset {config.preset}, {f'changed: {told_settings(changed)}' if changed else 'nothing changed'}", *to_lines(config)]
