"""Where two configurations differ: the first field, which fields make a method, what was changed of a preset.

In:  configurations as config.json holds them: an object with an object for each stage inside.
Out: fields by name, such as `head.dropout`, with their values. A field that is missing counts as one that is None.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict

from fer_model.config import PRESETS, STAGES_OF, TrainConfig, resolve_budgets, shown
from fer_model.settings import parts_used

__all__ = ["first_difference", "flat", "from_preset", "idle_stages", "of_method", "set_otherwise", "told_settings", "used", "variant_of"]

_BUDGETS = ("kimg", "epochs")         # they follow from the number of training faces, which differs between folds
# They say which run it is, or follow from the data.
_NO_SETTING = ("preset", "method", "fold", "init", "tested", "network.channels", "own.network", "own.sha256")
# Settings that make a method another one than its name says, where they are not what they are without being asked for.
_OWN = ("head.variant", "head.encoder_lr", "cnn.members", "cnn.balanced", "cnn.confusion", "cnn.identity_swap")
_ALL_STAGES = {stage for method in STAGES_OF for stage in parts_used(method)}


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """Return the fields of nested objects by name; lists become tuples.

    >>> flat({"a": 1, "b": {"c": [2, 3]}})
    {'a': 1, 'b.c': (2, 3)}
    """
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = tuple(value) if isinstance(value, list) else value
    return found


def first_difference(old: dict, new: dict) -> tuple[str, object, object] | None:
    """Return the first field in which two objects differ, in the order of the first, with both values; None if there is none.

    >>> first_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ('b.c', 2, 3)
    """
    old, new = flat(old), flat(new)
    return next(((name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)), None)


def idle_stages(config: dict) -> set[str]:
    """Return the stages that a method does not train, although its configuration holds them: of the baseline, those of DE-GAN."""
    method = config["method"]
    return _ALL_STAGES - set(parts_used(method)) if method in STAGES_OF else set()


def used(config: dict) -> dict:
    """Return a configuration without the stages that its method does not train: of a run of before, they are what they are by default."""
    idle = idle_stages(config)
    return {name: value for name, value in config.items() if name not in idle}


def of_method(config: dict) -> dict[str, object]:
    """Return the fields that make a method: all but the fold, whether it was tested, the seed, the budgets, and stages not trained.

    A field that this program does not know counts.
    """
    own = flat({name: value for name, value in used(config).items() if name not in ("fold", "tested", "seed")})
    return {name: value for name, value in own.items() if name.rpartition(".")[2] not in _BUDGETS}


def set_otherwise(
    mine: Mapping[str, object], preset: Mapping[str, object], counts: Callable[[str], bool] = lambda name: True
) -> dict[str, tuple[object, object]]:
    """Return the settings that differ from a preset's: name -> (value, the preset's), in the order of `mine`.

    Both are fields by name. What says which run it is, or follows from the data, is no setting; of the others those that `counts` says.
    A field that one of the two lacks does not count: a run of before had none of it.

    >>> set_otherwise({"seed": 1, "fold": 2, "gan.lr": 0.5}, {"seed": 0, "fold": 0, "gan.lr": 0.1}, lambda name: name != "seed")
    {'gan.lr': (0.5, 0.1)}
    """
    both = {name: (mine[name], preset[name]) for name in mine if name in preset and name not in _NO_SETTING and counts(name)}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def told_settings(found: Mapping[str, tuple[object, object]]) -> str:
    """Return what set_otherwise found, for people; "" if that is nothing.

    >>> told_settings({"gan.lr": (1e-4, 2e-4), "gan.kimg": (5.0, None)})
    'gan.lr 1e-4 (preset: 2e-4), gan.kimg 5 (preset: none)'
    """
    return ", ".join(f"{name} {shown(value)} (preset: {shown(was)})" for name, (value, was) in found.items())


def from_preset(config: dict, n_train: int) -> dict[str, tuple[object, object]]:
    """Return the settings of what makes a run's figures that differ from its preset, as this program has it: name -> (value, the preset's).

    config    as config.json holds it: budgets are resolved
    n_train   training faces of the run, from which the preset's budgets follow
    Judges take no part in training, and a method has several seeds.
    """
    if config.get("preset") not in PRESETS:
        return {}
    mine, theirs = flat(used(config)), flat(asdict(resolve_budgets(PRESETS[config["preset"]], n_train)))
    follows = {"head.kimg"} if mine.get("head.variant") == "f-svm" else set()                    # from svm_views
    follows |= {"precision"} if theirs["precision"] == "auto" else set()                         # from the processor
    return set_otherwise(mine, theirs, lambda name: name not in {"seed", *follows} and not name.startswith("judges."))


def variant_of(config: dict) -> dict[str, object]:
    """Return the settings that make a run's method another one than its name says, such as head.variant, with their values."""
    own, plain = flat(used(config)), flat(asdict(TrainConfig()))
    return {name: own[name] for name in _OWN if own.get(name) not in (plain[name], None)}
