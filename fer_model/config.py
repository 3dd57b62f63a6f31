"""The configuration of a run: one frozen dataclass per stage, five presets, and strict JSON in both directions.

In:  a preset's name and overrides, or the JSON of an earlier run.
Out: a TrainConfig. No torch is imported here.

Paper means Ali & Hughes, "Facial expression representation learning by synthesizing expression images", section 4.1
unless another is named; "open" marks what it leaves open. Budgets are in kimg, thousands of images shown; `epochs`
takes their place where the paper counts epochs; an epoch is one pass over all 110 views of the training faces.
"""

import json
import math
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal
from typing import ClassVar

from fer_data.schema import read
from fer_data.text import either, listed, unknown
from fer_model.errors import ConfigError

__all__ = [
    "CELL_RULES", "FOLD_RULES", "FOR_STARTS", "HEADS", "METHODS", "NETWORKS", "OFFICIAL", "PRECISIONS", "PRESETS", "PRETRAINED",
    "SELECTIONS", "STAGES_OF", "STARTS_FROM_FILE", "SYNTHESISERS", "AS_BASELINE", "AutoencoderConfig", "CnnConfig", "CriticsConfig",
    "GanConfig", "HeadConfig", "IacnnConfig", "JudgesConfig", "NetworkConfig", "NeutralConfig", "OwnConfig", "RecogniserConfig", "Rule",
    "TimmConfig", "TrainConfig", "budget_images", "from_json", "preset", "resolve_budgets", "shown", "step_images", "steps_of",
    "to_json", "told_budget", "to_lines", "with_budgets",
]

METHODS = ("degan", "deae", "deae-head", "derl", "iacnn", "cnn", "timm", "own")
PRECISIONS = ("auto", "fp32", "bf16")
LR_SCHEDULES = ("constant", "cosine")
TARGETS = ("other", "any")
SWAP_PARTS = ("mean", "effect")
SYNTHESISED_PEOPLE = ("other", "own")
PREDICTIONS = ("joined", "mean")
CELL_RULES = ("confounded", "control", "missing")         # no folds: people are tested on what they do not show in training
WITHOUT_PEOPLE = ("cnn", "timm", "own", "pretrain")       # methods that need not know who is in a picture
OFFICIAL = "official"                 # no folds: the database's own split, where people are unknown
FOLD_RULES = ("manifest", "shuffled", OFFICIAL, *CELL_RULES)
NETWORKS = "fer_degan.networks"       # group of entry points under which other packages offer networks for --method
HEADS = ("both", "taps", "f-mlp", "f-svm")    # what predicts: see HeadConfig.variant
SVM_VIEWS = (1, 10, 110)
SELECTIONS = ("last", "validation")
# The stages that a method trains, in order; pretrain is stage 1 alone, on all people of a prepared folder.
STAGES_OF = {
    "degan": ("gan", "head"), "deae": ("critics", "ae", "recogniser"), "deae-head": ("critics", "ae", "head"),
    "derl": ("neutral", "head"), "iacnn": ("iacnn",), "cnn": ("cnn",), "timm": ("timm",), "own": ("own",), "pretrain": ("gan",),
}
# Stages that `fer-model pretrain` can train on everybody, besides DE-GAN's stage 1, and what may start from such a run.
PRETRAINED = ("cnn", "timm")
# Stages that get the images of both stages of DE-GAN together if they have no budget.
AS_BASELINE = ("recogniser", "iacnn", "cnn", "timm", "own")
STARTS_FROM_FILE = ("timm", "own")    # stages whose network may start from weights of a file
SYNTHESISERS = ("gan", "ae")          # stages 1: what they leave has an encoder and a decoder


@dataclass(frozen=True)
class Rule:
    """What a field may hold, beyond its type."""

    words: str                        # for people, behind "must be"
    holds: Callable[[typing.Any], bool]
    choices: tuple = ()               # where only a few values are allowed


def _among(*choices) -> Rule:
    return Rule(either(choices), lambda value: value in choices, choices)


def _numbers(n: int, words: str, holds: Callable[[float], bool]) -> Rule:
    return Rule(words, lambda values: len(values) == n and all(map(holds, values)))


_ABOVE_0 = Rule("above 0", lambda value: value > 0)
_FROM_0 = Rule("at least 0", lambda value: value >= 0)
_FROM_1 = Rule("at least 1", lambda value: value >= 1)
_BELOW_1 = Rule("at least 0 and below 1", lambda value: 0 <= value < 1)
_SHARE = Rule("from 0 to 1", lambda value: 0 <= value <= 1)
_BETAS = _numbers(2, "two numbers, each at least 0 and below 1", _BELOW_1.holds)
_LOSS_WEIGHTS = _numbers(5, "five numbers of at least 0", _FROM_0.holds)


class _Checked:
    """A dataclass whose fields keep to RULES; an error names the field as `--set` does."""

    SECTION: ClassVar[str] = ""       # of TrainConfig; "" for the run itself
    RULES: ClassVar[Mapping[str, Rule]] = {}

    def __post_init__(self):
        for one in fields(self):
            name, value = f"{self.SECTION}.{one.name}".lstrip("."), getattr(self, one.name)
            rule = self.RULES.get(one.name)
            if any(isinstance(part, float) and not math.isfinite(part) for part in (value if isinstance(value, tuple) else [value])):
                raise ConfigError(f"configuration: {name} is {shown(value)}; it must be finite")
            if rule is None or value is None or rule.holds(value):
                continue
            if rule.choices and isinstance(value, str):
                raise ConfigError(f"configuration: {unknown(name, value, rule.choices)}")
            raise ConfigError(f"configuration: {name} is {shown(value)}; it must be {rule.words}")


@dataclass(frozen=True)
class NetworkConfig(_Checked):
    """Sizes that all networks of a run share."""

    SECTION: ClassVar = "network"
    RULES: ClassVar = {
        "image_size": _among(96, 48, 32, 16), "channels": _among(1, 3), "width": Rule("above 0, at most 4", lambda value: 0 < value <= 4),
        "representation": _FROM_1, "noise": _FROM_1, "code_scale": _ABOVE_0, "init_std": _ABOVE_0,
    }

    image_size: int = 96              # px; the paper's. 48, 32, 16: exact means of 2x2, 3x3, 6x6 pixels
    channels: int = 1                 # open: 1 grey, 3 RGB; taken from the prepared data, CK+ being mostly grey
    width: float = 1.0                # factor on the channels of tables A and B (DR-GAN), not on N_f
    representation: int = 350         # N_f, the length of f(x)
    noise: int = 50                   # N_z, open: DR-GAN's ports use 50
    code_scale: float = 1.0           # open: the value of the one in the code I. With weights of N(0, 0.02) a 1 among N_f + N_z
                                      # other inputs is a hundredth of their variance: G ignores I for the first epochs
    d_without_norm: tuple[str, ...] = ()       # open: layers of D without BN; DCGAN [23] has none on the first. Without BN on conv11
                                      # and conv53 D tells batches of few people apart better, and learns expressions of many
                                      # people later (docs/experiments.md)
    d_spectral_norm: bool = False     # weights of D divided by their largest singular value (Miyato et al., ICLR 2018)
    residual: bool = False            # a 1x1 convolution round each scale of table A (He et al., CVPR 2016), in G_en and in D
    init_std: float = 0.02            # weights ~ N(0, 0.02); but BN scales 1, biases 0: open, usual


@dataclass(frozen=True)
class _StageConfig(_Checked):
    """What every stage has: a budget, a batch, an optimiser."""

    RULES: ClassVar = {
        "epochs": _ABOVE_0, "kimg": _ABOVE_0, "batch": Rule("at least 2", lambda value: value >= 2), "lr": _ABOVE_0, "betas": _BETAS,
        "weight_decay": _FROM_0, "lr_schedule": _among(*LR_SCHEDULES), "tick_steps": _FROM_1, "average_half_kimg": _FROM_0,
    }

    epochs: float | None = None       # passes over all 110 views of the training faces; none: the budget is `kimg`
    kimg: float | None = None         # thousands of images shown; none: the budget is `epochs`
    batch: int = 150                  # images in a step, over all processes
    lr: float = 1e-4                  # Adam's step size
    betas: tuple[float, ...] = (0.5, 0.999)      # Adam: "momentum of 0.5"; the second is open, 0.999 in relatives
    weight_decay: float = 0.0         # decoupled (AdamW); 0, the paper names none, is Adam itself
    lr_schedule: str = "constant"     # constant; cosine: up from 0 over a tenth, then down to 0
    tick_steps: int = 100             # steps between two log lines; losses are read and checked on ticks only
    average_half_kimg: float = 0.0    # what is used is the moving average of the weights with this half-life, in kimg; of
                                      # stage 1 that is G, not D; 0: the weights as they were last

    def __post_init__(self):
        super().__post_init__()
        if self.epochs is not None and self.kimg is not None:
            both = f"{self.SECTION}.epochs ({shown(self.epochs)}) and {self.SECTION}.kimg ({shown(self.kimg)})"
            raise ConfigError(f"configuration: {both} are two budgets for one stage; set one of them to none")


@dataclass(frozen=True)
class _ClassifierConfig(_StageConfig):
    """What the FER head and the baseline have in common, so that either may have what the other has."""

    RULES: ClassVar = {**_StageConfig.RULES, "dropout": _BELOW_1, "label_smoothing": _BELOW_1, "stronger_views": _SHARE, "mixup": _FROM_0}

    dropout: float = 0.0              # open: on what the last classifier sees: concat(FC_1 .. FC_4, f(x)); the hidden layer
    label_smoothing: float = 0.0      # open: share of each target spread evenly over all classes, in every cross-entropy
    stronger_views: float = 0.0       # size, 0 to 1, of the random changes to each training view beyond the paper's 110; see augment.py
    mixup: float = 0.0                # alpha of Beta(alpha, alpha), the share of each training view in its mixture with another of the
                                      # batch, labels too (Zhang et al., ICLR 2018); 0: off


@dataclass(frozen=True)
class GanConfig(_StageConfig):
    """Stage 1, DE-GAN: section 3.1, eq. (1) and (2)."""

    SECTION: ClassVar = "gan"
    RULES: ClassVar = {
        **_StageConfig.RULES, "targets": _among(*TARGETS), "d_interval": _FROM_1, "d_interval_strong": _FROM_1,
        "d_strong_above": Rule("above 0, at most 1", lambda value: 0 < value <= 1), "d_memory": _BELOW_1, "d_label_smoothing": _BELOW_1,
    }

    epochs: float | None = 300        # passes over all 110 views; "DE-GAN is trained for 300 epochs"
    targets: str = "other"            # other: I names another person than x's, as in the paper; any: x's own too
    d_interval: int = 1               # D is trained on every n-th batch, G on each
    d_interval_strong: int = 4        # open: the same once D is strong; DR-GAN's 4 : 1
    d_strong_above: float = 0.9       # open: D is strong above this mean accuracy; DR-GAN's ports
    d_memory: float = 0.9             # open: weight of the past in that running mean, per D batch
    d_label_smoothing: float = 0.0    # share of the target of real faces' expressions spread over all; 0: eq. (1) as printed


@dataclass(frozen=True)
class HeadConfig(_ClassifierConfig):
    """Stage 2, the FER head on the frozen encoder: section 3.2, eq. (3); and its ablations."""

    SECTION: ClassVar = "head"
    RULES: ClassVar = {
        **_ClassifierConfig.RULES, "variant": _among(*HEADS), "loss_weights": _LOSS_WEIGHTS,
        "taps": Rule("four layers", lambda value: len(value) == 4), "local_channels": _FROM_1, "local_features": _FROM_1,
        "encoder_lr": _FROM_0, "local_dropout": _BELOW_1, "prediction": _among(*PREDICTIONS), "mlp_features": _FROM_1,
        "svm_c": _ABOVE_0, "svm_views": _among(*SVM_VIEWS),
    }

    epochs: float | None = 50         # passes over all 110 views; "the local FER CNN models are trained for 50 epochs"
    variant: str = "both"             # both: taps and f(x), the paper; taps: the local CNNs without f(x); f-mlp, f-svm: f(x)
                                      # alone, as in the authors' first DE-GAN (arXiv 1909.13135), which tries both
    loss_weights: tuple[float, ...] = (0.7, 0.6, 0.4, 0.3, 1.0)   # lambda_1 .. lambda_5 of eq. (3)
    taps: tuple[str, ...] = ("conv23", "conv33", "conv43", "conv52")   # open: the last layer at 48, 24 and 12 px of 96;
                                      # at 6 px the one before conv53, as conv53 is f(x), which L5 gets anyway
    local_channels: int = 32          # open: channels of a local CNN's block at the picture's own size; they double with each
                                      # halving of it, as the baseline's do
    local_features: int = 128         # open: length of FC_i, the last fully connected layer of a local CNN
    encoder_lr: float = 0.0           # Adam's step size of the encoder in stage 2; 0: it is frozen, section 3.2
    local_dropout: float = 0.0        # open: on each FC_i before the local CNN's own softmax
    prediction: str = "joined"        # open: joined: the softmax of L5; mean: of the softmaxes of L_1 .. L_5
    mlp_features: int = 128           # open: length of f-mlp's hidden layer
    svm_c: float = 1.0                # open: f-svm's C, the weight of its squared hinge against the size of its weights
    svm_views: int = 10               # open: views of each face that f-svm is fitted on, once each; 1: the centre; 10: the
                                      # unrotated crops and their mirrors; 110: all. Its budget follows from it

    @property
    def taps_used(self) -> tuple[str, ...]:
        """The layers that this variant looks at next to f(x)."""
        return self.taps if self.variant in ("both", "taps") else ()


@dataclass(frozen=True)
class _StartedConfig(_ClassifierConfig):
    """What networks have in common that may start from the weights of another (--init, --weights)."""

    RULES: ClassVar = {**_ClassifierConfig.RULES, "carried_lr": _SHARE, "frozen": _FROM_0}

    carried_lr: float = 0.1           # step size of what is carried over, as a share of lr; the classifier, and a network that begins with
                                      # random weights, learn at lr. 0: it stays as it is, but for BN's statistics
    frozen: int = 0                   # of what is carried over, the first so many convolutions and linear layers, and the norms behind
                                      # them, stay as they are, but for BN's statistics


@dataclass(frozen=True)
class CnnConfig(_StartedConfig):
    """The paper's "CNN (baseline)", which it does not describe: four blocks of two convolutions, one hidden layer.

    With neither epochs nor kimg it is shown as many images as both stages of DE-GAN together: a fair comparison.
    """

    SECTION: ClassVar = "cnn"
    RULES: ClassVar = {
        **_StartedConfig.RULES, "channels": _FROM_1, "features": _FROM_1, "members": _FROM_1, "confusion": _FROM_0,
        "identity_swap": _SHARE, "swap_part": _among(*SWAP_PARTS),
    }

    channels: int = 32                # open: of the first block; each block doubles them
    features: int = 256               # open: length of the hidden layer
    dropout: float = 0.5              # open: a usual value
    members: int = 1                  # CNNs whose probabilities are averaged: a rival of equal computing, as stages 1 and 2 take several
                                      # times the time of one. Each has weights, order and noise of its own, and the whole budget
    # Three rivals for databases in which who is shown tells the expression; none of them needs a synthesised face.
    balanced: bool = False            # each person's expressions are drawn equally often; people as often as they have faces
    confusion: float = 0.0            # weight of a term that makes the hidden layer useless to a linear classifier of the person, which
                                      # learns on it beside (Alvi et al., ECCV workshops 2018). 0: off; at 1 nothing is learned
    identity_swap: float = 0.0        # share of the training views from which what is the person's is taken off, another person's put on
    swap_part: str = "mean"           # what that is. mean: of the person's faces; effect: without the expressions that the person shows,
                                      # by least squares over all faces

    def __post_init__(self):
        super().__post_init__()
        if self.confusion and self.identity_swap:
            both = f"{self.SECTION}.confusion and {self.SECTION}.identity_swap"
            raise ConfigError(f"configuration: {both} are both set; set one of them to 0, as nobody can say who a swapped face shows")


@dataclass(frozen=True)
class RecogniserConfig(CnnConfig):
    """The baseline's network, trained on real faces and on synthesised ones: on each expression as other people would show it."""

    SECTION: ClassVar = "recogniser"
    RULES: ClassVar = {**CnnConfig.RULES, "synthesised": _SHARE, "people": _among(*SYNTHESISED_PEOPLE), "least_agreement": _BELOW_1}

    synthesised: float = 0.5          # share of each batch that is G(x, I), with the label y^e of x
    people: str = "other"             # other: I names any training person; own: x's own, the control in which nobody is exchanged
    least_agreement: float = 0.5      # a synthesised face takes the place of x if the critics give y^e at least this probability

    def __post_init__(self):
        super().__post_init__()
        if self.confusion and self.synthesised:
            both = "recogniser.confusion and recogniser.synthesised"
            raise ConfigError(f"configuration: {both} are both set; set one of them to 0, as a synthesised face shows another person")


@dataclass(frozen=True)
class TimmConfig(_StartedConfig):
    """A network of the library timm in place of the baseline, with as many images unless told otherwise."""

    SECTION: ClassVar = "timm"
    RULES: ClassVar = {
        **_StartedConfig.RULES,
        "arch": Rule("letters, digits, `_`, `-` and `.`", lambda value: re.fullmatch(r"[A-Za-z0-9_.-]+", value) is not None),
    }

    arch: str = "resnet18"            # timm's name of the architecture, set by --arch; behind a dot the name of its weights


@dataclass(frozen=True)
class OwnConfig(_StartedConfig):
    """A user's own network in place of the baseline, with as many images unless told otherwise."""

    SECTION: ClassVar = "own"

    network: str | None = None        # net.py:Net, or the name of an entry point
    sha256: str | None = None         # of the file with its code: another one is another network


@dataclass(frozen=True)
class NeutralConfig(_StageConfig):
    """Stage 1 of DeRL (Yang, Ciftci and Yin, CVPR 2018): a conditional GAN that makes each face neutral. "open": not known here."""

    SECTION: ClassVar = "neutral"
    RULES: ClassVar = {**_StageConfig.RULES, "pixels": _FROM_0}

    epochs: float | None = 300        # open: passes over all 110 views; as DE-GAN's
    pixels: float = 100.0             # open: weight of the mean absolute difference of pixels from the person's neutral face


@dataclass(frozen=True)
class IacnnConfig(_ClassifierConfig):
    """IACNN (Meng et al., FG 2017): a CNN that learns from pairs of faces, with a branch for the expression and one for the person.

    "open" marks what its abstract leaves open; docs/rivals.md says more.
    """

    SECTION: ClassVar = "iacnn"
    RULES: ClassVar = {
        **_ClassifierConfig.RULES, "batch": Rule("a multiple of 4", lambda value: value >= 4 and value % 4 == 0), "channels": _FROM_1,
        "features": _FROM_1, "branch": _FROM_1, "margin": _ABOVE_0, "contrast_expression": _FROM_0, "contrast_identity": _FROM_0,
        "softmax_expression": _FROM_0, "same_person": _SHARE, "same_expression": _SHARE,
    }

    batch: int = 152                  # images in a step, two of each pair; the two streams of the paper are one network that is shown both
    channels: int = 32                # open: of the first block, as of the baseline's
    features: int = 256               # open: length of the hidden layer that both branches start from
    dropout: float = 0.5              # open: as the baseline's
    branch: int = 128                 # open: length of the branch of the expression, and of that of the person
    margin: float = 2.0               # open: pairs that differ are pushed apart up to this distance
    contrast_expression: float = 0.1  # open: weight of the contrastive loss of the expression
    contrast_identity: float = 0.1    # open: weight of the contrastive loss of the person
    softmax_expression: float = 1.0   # open: weight of the cross-entropy of the branch of the expression alone
    same_person: float = 0.25         # open: share of the pairs that are drawn to show one person
    same_expression: float = 0.25     # open: share of the pairs that are drawn to show one expression; the others are any two faces

    def __post_init__(self):
        super().__post_init__()
        if self.same_person + self.same_expression > 1:
            both = "iacnn.same_person and iacnn.same_expression"
            raise ConfigError(f"configuration: {both} are shares of the pairs; together they must be at most 1")


@dataclass(frozen=True)
class CriticsConfig(_StageConfig):
    """CNNs of expression and of person that learn from the real training faces; stage 1 matches what their layers see.

    They are a part of the method and of its cost; the judges, which say how it fares, have other weights and fewer faces.
    """

    SECTION: ClassVar = "critics"
    RULES: ClassVar = {**_StageConfig.RULES, "pairs": _FROM_1, "channels": _FROM_1, "features": _FROM_1, "stronger_views": _SHARE}

    kimg: float | None = 48
    batch: int = 48
    lr: float = 2e-3
    betas: tuple[float, ...] = (0.9, 0.999)
    weight_decay: float = 0.01
    lr_schedule: str = "cosine"
    pairs: int = 2                    # pairs of CNNs, asked in turn, step by step: a texture that pleases one does not please both
    channels: int = 16                # of the first block; each block doubles them
    features: int = 64                # length of the hidden layer
    stronger_views: float = 0.5       # as of a classifier; the same on every face, real or synthesised, that they are asked about


@dataclass(frozen=True)
class AutoencoderConfig(_StageConfig):
    """Stage 1 without an adversary: an auto-encoder whose targets are real faces, of x's person and of others.

    A quarter of each batch asks for x's own person and shall give x; a quarter for anybody who shows y^e in training, and
    shall give that face in the same view; half for any person, where no face may exist that could be the target. These shall
    look to the expression critic like x, and to the person critic like a face of that person.
    """

    SECTION: ClassVar = "ae"
    RULES: ClassVar = {
        **_StageConfig.RULES, "batch": Rule("at least 4", lambda value: value >= 4), "embedding": _FROM_1, "pixels": _FROM_0,
        "features": _FROM_0, "exchange": _FROM_0, "expression": _FROM_0,
    }

    kimg: float | None = 48
    batch: int = 48
    lr: float = 1e-3
    lr_schedule: str = "cosine"
    average_half_kimg: float = 1.5
    embedding: int = 256              # length of what a person's code becomes before it scales the decoder's layers
    pixels: float = 10.0              # weight of the mean absolute difference of pixels, where there is a target
    features: float = 2.0             # weight of the difference in the critics' layers, where there is a target
    exchange: float = 2.0             # weight of the difference in their last layers, where there is none: without it G draws, in a cell
                                      # that training does not have, an expression that the person shows
    expression: float = 1.0           # weight of the cross-entropy of a linear classifier on f(x)


@dataclass(frozen=True)
class JudgesConfig(_StageConfig):
    """Two CNNs, of expression and of person, that learn from the real training faces and judge the synthesised ones.

    They say how stage 1 fares and take no part in it: not in the paper, not in a method's budget.
    """

    SECTION: ClassVar = "judges"
    RULES: ClassVar = {
        **_StageConfig.RULES, "channels": _FROM_1, "features": _FROM_1, "n_faces": Rule("at least 4", lambda value: value >= 4),
        "every_kimg": _ABOVE_0,
    }

    epochs: float | None = 1
    lr: float = 2e-3
    betas: tuple[float, ...] = (0.9, 0.999)
    weight_decay: float = 0.01
    lr_schedule: str = "cosine"
    channels: int = 16                # of the first block; each block doubles them
    features: int = 64                # length of the hidden layer, in which KID is computed
    n_faces: int = 256                # synthesised faces that are judged; fewer training faces: all of them
    every_kimg: float = 100.0         # thousands of images that stage 1 sees between two judgements


@dataclass(frozen=True)
class TrainConfig(_Checked):
    """One run: a method on one fold. What it does not hold (device, paths) does not change the result's meaning."""

    RULES: ClassVar = {
        "method": _among(*STAGES_OF), "fold": _FROM_0, "fold_rule": _among(*FOLD_RULES), "fold_seed": _FROM_0, "seed": _FROM_0,
        "selection": _among(*SELECTIONS), "validation_share": Rule("above 0 and below 1", lambda value: 0 < value < 1),
        "validation_every": _FROM_1, "precision": _among(*PRECISIONS),
    }

    preset: str = "paper"             # where the other values came from, before overrides
    method: str = "degan"             # degan: stages gan and head; deae: the auto-encoder, then the baseline's network on real and
                                      # synthesised faces; deae-head: the auto-encoder, then the head of degan; derl, iacnn: rivals of
                                      # the paper's; cnn: the baseline; timm: a network of timm; own: a user's; pretrain: stage gan on
                                      # everybody
    fold: int | None = 0              # the test fold, or with cells the number of the draw; none, only for pre-training: nobody is held out
    fold_rule: str = "manifest"       # manifest: the folds of the prepared folder; shuffled: the same number, people drawn at random;
                                      # official: the split of a database whose people are unknown, fold is 0 (data/official.py);
                                      # confounded, control, missing: cells, no folds (data/cells.py, docs/missing_cells.md)
    fold_seed: int = 0                # of shuffled folds, as in `fer-data prepare --fold-rule shuffled --seed`; or of draws of cells
    seed: int = 0                     # seed of weights, order and noise
    selection: str = "last"           # last: the weights after the last step; validation: those of the head, or of the baseline,
                                      # that did best on training people who are set aside, in no stage trained on. Never the test fold
    validation_share: float = 0.1     # share of each expression's training sequences that selection validation sets aside
    validation_every: int = 1         # with selection validation: check every so many log lines, and at the last step
    tested: bool = True               # false: the test fold stays closed, settings are chosen by the people set aside
    init: str | None = None           # sha256 of the weights that training starts from (--init, --weights); none: random weights
    precision: str = "fp32"           # auto: bf16 autocast where the processor has matrix units for it, else fp32
    network: NetworkConfig = field(default_factory=NetworkConfig)
    judges: JudgesConfig = field(default_factory=JudgesConfig)
    gan: GanConfig = field(default_factory=GanConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    critics: CriticsConfig = field(default_factory=CriticsConfig)
    ae: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    recogniser: RecogniserConfig = field(default_factory=RecogniserConfig)
    neutral: NeutralConfig = field(default_factory=NeutralConfig)
    iacnn: IacnnConfig = field(default_factory=IacnnConfig)
    cnn: CnnConfig = field(default_factory=CnnConfig)
    timm: TimmConfig = field(default_factory=TimmConfig)
    own: OwnConfig = field(default_factory=OwnConfig)

    def __post_init__(self):
        super().__post_init__()
        if self.fold_rule == OFFICIAL and self.fold:
            raise ConfigError(f"configuration: fold is {self.fold}; fold rule {OFFICIAL} has one split and no folds, so it must be 0")
        if self.fold_rule in CELL_RULES and self.selection != "last":
            raise ConfigError(
                f"configuration: selection is {self.selection}; fold rule {self.fold_rule} tests people of the training, so it must be last"
            )
        if self.method == "pretrain" and self.fold is not None:
            raise ConfigError(f"configuration: fold is {self.fold}; pretrain holds nobody out, so it must be none")
        if self.method == "pretrain" and self.selection != "last":
            raise ConfigError(f"configuration: selection is {self.selection}; pretrain tests nobody, so it must be last")
        if self.method not in ("pretrain", *PRETRAINED) and self.fold is None:
            raise ConfigError(f"configuration: fold is none; {self.method} needs a test fold, counted from 0")
        if self.init is not None and not {"gan", *PRETRAINED, *STARTS_FROM_FILE} & set(self.stages):
            raise ConfigError(f"configuration: init is set, but {self.method} has no stage 1 that could start from a run; leave --init out")
        if not self.tested and self.selection != "validation":
            raise ConfigError(f"configuration: tested is false, selection {self.selection}; nothing would be seen: it must be validation")
        if self.by_svm and self.selection != "last":
            raise ConfigError(f"configuration: selection is {self.selection}; f-svm has no steps to choose from, so it must be last")

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that this run trains, in order."""
        return STAGES_OF[self.method]

    @property
    def needs_people(self) -> str:
        """What in this run learns from who is in the training pictures, in words; "": nothing does."""
        if self.method not in WITHOUT_PEOPLE:
            return f"method {self.method}"
        if self.method != "cnn":
            return ""
        return listed(f"cnn.{name}" for name in ("balanced", "confusion", "identity_swap") if getattr(self.cnn, name))

    @property
    def by_svm(self) -> bool:
        """Whether a linear SVM predicts."""
        return "head" in self.stages and self.head.variant == "f-svm"

    @property
    def probability(self) -> str:
        """What the predicted probabilities are, in words."""
        return "softmax of a linear SVM's margins, which were not fitted to be probabilities" if self.by_svm else "softmax"

    @property
    def synthesiser(self) -> str | None:
        """The stage 1 of this run, which leaves an encoder and a decoder; None: it has none."""
        return next((stage for stage in self.stages if stage in SYNTHESISERS), None)

    @property
    def name(self) -> str:
        """What tells this run from the others of a fold, as part of a folder's name: degan, degan-taps, cnn."""
        head = f"-{self.head.variant}" if "head" in self.stages and self.head.variant != "both" else ""
        chosen = "-validation" if self.selection == "validation" else ""
        started = "-pretrained" if self.init is not None else ""
        network = {"timm": f"-{self.timm.arch}", "own": f"-{(self.own.network or '').rpartition(':')[2]}"}.get(self.method, "")
        alone = "pretrain-" if self.fold is None and self.method != "pretrain" else ""
        return f"{alone}{self.method}{network}{head}{started}{chosen}"


# smoke: seconds, for tests. It shows that the machinery turns, not that anything was learned.
_SMOKE = TrainConfig(
    preset="smoke",
    network=NetworkConfig(image_size=48, width=0.125, representation=16, noise=4),
    judges=JudgesConfig(epochs=None, kimg=0.032, batch=8, channels=4, features=8, n_faces=8, every_kimg=0.032, tick_steps=2),
    gan=GanConfig(epochs=None, kimg=0.064, batch=8, lr=2e-4, tick_steps=2),
    head=HeadConfig(epochs=None, kimg=0.064, batch=8, lr=1e-3, tick_steps=2, local_channels=4, local_features=8),
    critics=CriticsConfig(kimg=0.032, batch=8, pairs=1, channels=4, features=8, tick_steps=2),
    ae=AutoencoderConfig(kimg=0.064, batch=8, embedding=4, tick_steps=2),
    recogniser=RecogniserConfig(batch=8, lr=1e-3, tick_steps=2, channels=4, features=16, dropout=0.0, least_agreement=0.0),
    neutral=NeutralConfig(epochs=None, kimg=0.064, batch=8, lr=2e-4, tick_steps=2),
    iacnn=IacnnConfig(batch=8, lr=1e-3, tick_steps=2, channels=4, features=16, branch=8, dropout=0.0),
    cnn=CnnConfig(batch=8, lr=1e-3, tick_steps=2, channels=4, features=16, dropout=0.0),
    timm=TimmConfig(batch=8, lr=1e-3, tick_steps=2),
    own=OwnConfig(batch=8, lr=1e-3, tick_steps=2),
)
# small: `fer-model train --fold 0 --preset small`; `make demo` trains both methods with it.
_CLASSIFIER = {
    "batch": 48, "lr": 2e-3, "betas": (0.9, 0.999), "weight_decay": 0.01, "lr_schedule": "cosine", "tick_steps": 50,
    "dropout": 0.5, "label_smoothing": 0.1,
}
_SMALL = TrainConfig(
    preset="small",
    precision="auto",
    network=NetworkConfig(image_size=48, width=0.5, code_scale=10.0),
    judges=JudgesConfig(epochs=None, kimg=12, batch=48, every_kimg=4.8, tick_steps=50),
    # D never rests: in the steps in which it did, G learned a texture that the resting D took for faces (docs/experiments.md).
    gan=GanConfig(epochs=None, kimg=36, batch=24, lr=2e-4, tick_steps=100, average_half_kimg=0.75, d_interval_strong=1),
    head=HeadConfig(      # taps at 48, 24, 12 and 6 px, as in `paper`: here the picture itself has 48
        epochs=None, kimg=48, taps=("conv12", "conv23", "conv33", "conv43"), local_channels=16, **_CLASSIFIER
    ),
    critics=CriticsConfig(tick_steps=50),
    recogniser=RecogniserConfig(channels=16, **_CLASSIFIER),
    neutral=NeutralConfig(epochs=None, kimg=36, batch=24, lr=2e-4, average_half_kimg=0.75),
    iacnn=IacnnConfig(channels=16, **_CLASSIFIER),
    cnn=CnnConfig(channels=16, **_CLASSIFIER),
    timm=TimmConfig(**_CLASSIFIER | {"lr": 1e-3}),
    own=OwnConfig(**_CLASSIFIER | {"lr": 1e-3}),
)
# strong: small with what lifts any classifier and is no part of the method, for the head and the baseline alike: twice the images in
# stage 2 (so 132 kimg of the baseline), mixup, averaged weights. The networks, smoothing, dropout and step sizes are those of small.
_MORE = {"mixup": 0.2, "average_half_kimg": 4.0}
_STRONG = replace(
    _SMALL, preset="strong", head=replace(_SMALL.head, kimg=96, **_MORE), recogniser=replace(_SMALL.recogniser, **_MORE),
    iacnn=replace(_SMALL.iacnn, **_MORE), cnn=replace(_SMALL.cnn, **_MORE), timm=replace(_SMALL.timm, **_MORE),
    own=replace(_SMALL.own, **_MORE),
)
# pretrained: `fer-model train --fold 0 --method cnn --preset pretrained --init RUN`. The network of small, fewer images, small steps of
# what is carried over. Larger steps, more images and mixup did as well on people who were set aside (docs/experiments.md).
_PRETRAINED = replace(
    _SMALL, preset="pretrained", cnn=replace(_SMALL.cnn, kimg=36.0), timm=replace(_SMALL.timm, kimg=36.0),
    own=replace(_SMALL.own, kimg=36.0),
)
# paper: `fer-model train --fold 0 --preset paper --dry-run` says what it costs; CK+ in the paper's table 1: 97.36.
_PAPER = TrainConfig(preset="paper")

PRESETS = {"smoke": _SMOKE, "small": _SMALL, "strong": _STRONG, "pretrained": _PRETRAINED, "paper": _PAPER}
FOR_STARTS = ("pretrained",)          # presets that a run which starts from random weights has no use for


def preset(name: str, **changes) -> TrainConfig:
    """Return a preset with top-level fields (method, fold, fold_rule, fold_seed, seed, selection, precision) changed.

    Raises ConfigError for an unknown name, naming the known ones.
    """
    if name not in PRESETS:
        raise ConfigError(f"configuration: {unknown('preset', name, PRESETS)}")
    return replace(PRESETS[name], **changes)


def with_budgets(config: TrainConfig, **kimg: float | None) -> TrainConfig:
    """Return the configuration with other budgets, in kimg by stage; None leaves a stage as it is."""
    found = {name: replace(getattr(config, name), epochs=None, kimg=value) for name, value in kimg.items() if value is not None}
    return replace(config, **found)


def budget_images(stage: _StageConfig, n_faces: int) -> int | None:
    """Return how many images a stage is shown on `n_faces` training faces; None if it has no budget of its own."""
    if stage.kimg is not None:
        return max(1, round(stage.kimg * 1000))
    if stage.epochs is not None:
        from fer_data.faces.views import N_VIEWS  # brings OpenCV, which reading options must not wait for

        return max(1, round(stage.epochs * n_faces * N_VIEWS))
    return None


def resolve_budgets(config: TrainConfig, n_faces: int) -> TrainConfig:
    """Return the configuration with every budget in kimg, now that the number of training faces is known.

    The baseline, and what takes its place, get those of both stages of DE-GAN together if they have none. The SVM sees
    its views once, in one step.
    """
    if config.head.variant == "f-svm":
        config = with_budgets(config, head=n_faces * config.head.svm_views / 1000)
    stages = ("judges", "gan", "critics", "ae", "neutral", "head", *AS_BASELINE)
    images = {name: budget_images(getattr(config, name), n_faces) for name in stages}
    for name in AS_BASELINE:
        if images[name] is None and None not in (images["gan"], images["head"]):
            images[name] = images["gan"] + images["head"]
    missing = [name for name, budget in images.items() if budget is None]
    if missing:
        raise ConfigError(f"configuration: stage {missing[0]} has no budget; set {missing[0]}.epochs or {missing[0]}.kimg")
    return with_budgets(config, **{name: budget / 1000 for name, budget in images.items()})


def step_images(stage: _StageConfig) -> int:
    """Return how many images a step is shown, over all processes: a batch; all at once to the SVM."""
    if stage.kimg is None:
        raise ConfigError("configuration: kimg is none; steps can be counted once resolve_budgets has filled it in")
    return round(stage.kimg * 1000) if getattr(stage, "variant", None) == "f-svm" else stage.batch


def told_budget(stage: _StageConfig) -> str:
    """Return a resolved budget for people, without its unit: 84; of five CNNs that are averaged, 5 x 84."""
    members = getattr(stage, "members", 1)
    return f"{members} x {stage.kimg:g}" if members > 1 else f"{stage.kimg:g}"


def steps_of(stage: _StageConfig) -> int:
    """Return the number of steps of a stage whose budget is resolved. The last batch is full like the others."""
    return math.ceil(round((stage.kimg or 0) * 1000) / step_images(stage))


def to_json(config: TrainConfig) -> str:
    """Return the configuration as JSON text; from_json gives back an equal one."""
    return json.dumps(asdict(config), indent=2) + "\n"


def to_lines(config: TrainConfig) -> list[str]:
    """Return the configuration for people: a line for the run, the networks, and each stage that is trained, names as in JSON."""
    values = asdict(config)
    run = {name: value for name, value in values.items() if not isinstance(value, dict)}
    parts = {"run": run, "network": values["network"]} | {name: values[name] for name in ("judges", *config.stages)}
    if config.synthesiser is None:
        del parts["judges"]
    return [f"{part}: {', '.join(f'{name} {shown(value)}' for name, value in fields_of.items())}" for part, fields_of in parts.items()]


def shown(value) -> str:
    """Return a field's value as `--set` takes it.

    >>> [shown(value) for value in (1e-4, 0.3, 12.0, None, True, (0.5, 0.999), (), "cosine")]
    ['1e-4', '0.3', '12', 'none', 'true', '[0.5, 0.999]', '[]', 'cosine']
    """
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, float):
        return _short(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _short(value: float) -> str:
    """Return the shortest text that reads back as the same number."""
    plain = repr(value).removesuffix(".0")
    if not math.isfinite(value) or not value:
        return plain
    sign, digits, exponent = Decimal(plain).normalize().as_tuple()
    mantissa = "".join(map(str, digits))
    power = f"{'-' * sign}{mantissa[0]}{'.' * (len(mantissa) > 1)}{mantissa[1:]}e{exponent + len(mantissa) - 1}"
    return min(plain, power, key=len)


# Fields that came after the first runs; their defaults leave everything as it was.
_LATER = (
    "critics", "ae", "recogniser", "head.mixup", "cnn.mixup", "cnn.members", "cnn.balanced", "cnn.confusion", "cnn.identity_swap",
    "cnn.swap_part", "timm", "own", "neutral", "iacnn", "cnn.carried_lr", "cnn.frozen",
    "recogniser.carried_lr", "recogniser.frozen", "timm.carried_lr", "timm.frozen", "own.carried_lr", "own.frozen", "tested",
)


def from_json(text: str) -> TrainConfig:
    """Return the configuration that to_json wrote.

    What _LATER names may be missing: a run of before had none of it. Raises ConfigError for text that is no JSON, an unknown or missing
    key, or a value of another type or out of range.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"configuration: not JSON ({error})") from error
    if isinstance(data, dict):
        known = json.loads(to_json(TrainConfig()))
        for part, name in (one.rpartition(".")[::2] for one in _LATER):
            inner, defaults = (data.get(part), known[part]) if part else (data, known)
            if isinstance(inner, dict):
                inner.setdefault(name, defaults[name])
    try:
        return read(TrainConfig, data, "configuration")
    except ValueError as error:
        raise ConfigError(str(error)) from error
