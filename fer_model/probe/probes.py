"""Measure what features still know of identity and expression.

In:  Samples of the training people and of the test fold (people who are in no other fold).
Out: ProbeRows.

    probe                       trained on                              tested on
    verification, EER | AUC     (nothing)                               pairs of faces, by the cosine of their features
    identity, linear | mlp      a person's other expressions            one expression of each person, then the next
    expression, linear | mlp    the training people                     the test fold

Identity probes name the person; sequences, not frames, are divided: no frame stands on one side and its sibling on the
other, and no person shows the same expression on both. Verification: a genuine pair is one person with two expressions. Each
has impostors in the place of its second face: other people with that second face's expression; all of them together weigh
as much as the pairs that they stand against. An EER of 0 tells all people apart, one of 0.5 none.

Two floors are measured as the features are: what knows no more of the person than that. The identity probe's is not one over the
people: the tested expression is never in that person's training part but is in others', so it points at the wrong people.

    expression alone            the expression, one-hot
    <features>, people shuffled the first features, those of each sequence taken from another person's sequence with the same expression;
                                where nobody else shows it, a sequence keeps its own, and is counted

Every feature is standardised, brought by PCA to one width for all features, and scaled as a whole to one mean length, on
the training part alone (verification: on the training people).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from fer_data.protocol.folds import scikit_learn_seed
from fer_model.errors import RunError
from fer_model.probe.features import Samples

__all__ = ["KINDS", "PEOPLE", "ProbeRow", "floors", "identity_rounds", "probe", "reduced", "verification", "verification_pairs"]

KINDS = ("linear", "mlp")
PEOPLE = ("test fold", "training people")
HIDDEN = 128                          # units of the MLP's one hidden layer
ROUNDS_OF_TRAINING_PEOPLE = 1         # they are many: one expression of each says enough, and costs a minute less a feature


@dataclass(frozen=True)
class ProbeRow:
    """One figure."""

    features: str
    probe: str                        # verification eer, verification auc, identity linear, identity mlp, expression ...
    people: str                       # whose faces it was tested on: PEOPLE
    value: float                      # share of right answers; EER; AUC: 0..1
    chance: float | None              # expression: always the training part's most frequent one; verification: 0.5; identity: none,
                                      # see the rows of the floors
    n_people: int                     # tested
    n_train: int                      # faces fitted on (identity: mean over rounds)
    n_test: int                       # faces tested, each once
    width: int                        # of the features after PCA
    spread: float | None = None       # over folds: standard deviation of the value
    n_unmoved: int | None = None      # people shuffled: tested sequences whose expression nobody else shows, which keep their own features


def probe(train: Samples, test: Samples, seed: int = 0) -> tuple[ProbeRow, ...]:
    """Return all figures for all features, in the order that they have in `train`, then for the floors.

    Raises RunError if fewer than two people of a side show two expressions.
    """
    width = min(rows.shape[1] for rows in train.features.values())
    names = np.unique(np.concatenate([train.expression, test.expression]))
    (more, kept), (tested_more, tested_kept) = (floors(one, names, seed) for one in (train, test))
    train, test = replace(train, features={**train.features, **more}), replace(test, features={**test.features, **tested_more})
    found = []
    for people, samples, rounds in zip(PEOPLE, (test, train), (None, ROUNDS_OF_TRAINING_PEOPLE), strict=True):
        identity = _identity(samples, people, width, rounds, seed)                       # first: what it refuses is easier to understand
        found += _verification(train, samples, people, width) + identity
    unmoved, (_, shuffled) = dict(zip(PEOPLE, (tested_kept, kept), strict=True)), more
    rows = found + _expression(train, test, width, seed)
    return tuple(replace(row, n_unmoved=unmoved[row.people]) if row.features == shuffled else row for row in rows)


def floors(samples: Samples, expressions: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], int]:
    """Return the features of the floors by name: the expression among `expressions` (E,) one-hot (n, E); the first ones shuffled (n, d).
    And how many sequences could not be shuffled: nobody else shows their expression.

    A sequence with fewer frames than the one that takes its place gives some of them twice.
    """
    name, rows = next(iter(samples.features.items()))
    rng, taken, n_unmoved = np.random.default_rng(seed), np.arange(len(rows)), 0
    for expression in expressions:
        shows = np.flatnonzero(samples.expression == expression)
        sequences = [shows[samples.sequence[shows] == one] for one in np.unique(samples.sequence[shows])]
        whose = np.array([samples.person[place[0]] for place in sequences])
        others = _of_others(whose, rng)
        n_unmoved += int((whose[others] == whose).sum())
        for place, other in zip(sequences, others, strict=True):
            taken[place] = np.resize(sequences[other], len(place))
    one_hot = (samples.expression[:, None] == expressions).astype(np.float32)
    return {"expression alone": one_hot, f"{name}, people shuffled": rows[taken]}, n_unmoved


def _of_others(whose: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each sequence of `whose` (S,) the place of another person's, (S,) int; its own if there is nobody else.

    A permutation in which whoever got an own sequence exchanges it with somebody for whom, too, the exchange is one with another person.
    Somebody who has more than half of the sequences cannot always do so: then some of the others' are given twice.
    """
    given = rng.permutation(len(whose))
    for place in range(len(whose)):
        if whose[given[place]] != whose[place]:
            continue
        fits = np.flatnonzero((whose != whose[place]) & (whose[given] != whose[place]))
        others = np.flatnonzero(whose != whose[place])
        if len(fits):
            other = rng.choice(fits)
            given[place], given[other] = given[other], given[place]
        else:
            given[place] = rng.choice(others) if len(others) else place
    return given


# --- fitting ----------------------------------------------------------------------------------------------------------


def reduced(train: np.ndarray, test: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both standardised and brought to at most `width` components, all learned from `train` (n, d) alone.

    One factor for all components makes the mean square of `train` 1, so that a classifier's penalty weighs every feature alike.
    """
    scaler = StandardScaler().fit(train)
    pca = PCA(min(width, len(train) - 1, train.shape[1]), svd_solver="full").fit(scaler.transform(train))
    one, other = (pca.transform(scaler.transform(rows)) for rows in (train, test))    # (n, w), (m, w)
    scale = np.sqrt((one**2).mean()) or 1.0
    return one / scale, other / scale


def _classifier(kind: str, seed: int):
    """Return an unfitted classifier; both are stopped by their own tolerance, not by the number of iterations."""
    if kind == "linear":
        return LogisticRegression(C=1.0, max_iter=5000)
    return MLPClassifier((HIDDEN,), alpha=0.01, max_iter=5000, random_state=scikit_learn_seed(seed))


def _right(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, width: int, seed: int) -> dict[str, np.ndarray]:
    """Return for each kind which rows of `test` are named right, (m,) bool."""
    one, other = reduced(train, test, width)
    return {kind: _classifier(kind, seed).fit(one, labels).predict(other) == truth for kind in KINDS}


# --- identity ---------------------------------------------------------------------------------------------------------


def identity_rounds(samples: Samples, seed: int, rounds: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (indices to train on, indices to test): in each round one expression of each person is tested.

    Over all rounds (None) each face of a person with two expressions or more is tested once; expressions come in a random
    order, another for each person. Training faces share neither sequence nor expression with that person's tested ones.
    """
    rng, turns = np.random.default_rng(seed), {}
    for person in np.unique(samples.person):
        own = samples.person == person
        found = []
        for expression in rng.permutation(np.unique(samples.expression[own])):
            tested = own & (samples.expression == expression)
            rest = own & ~np.isin(samples.sequence, samples.sequence[tested])     # the expression goes with its sequences
            if rest.any():
                found.append((rest, tested))
        if found:
            turns[person] = (own, found)
    for number in range(max((len(found) for _, found in turns.values()), default=0))[:rounds]:
        trained, tested = np.zeros(len(samples.person), bool), np.zeros(len(samples.person), bool)
        for own, found in turns.values():
            rest, those = found[number] if number < len(found) else (own, None)       # nothing left to test: all to train on
            trained |= rest
            if those is not None:
                tested |= those
        yield np.flatnonzero(trained), np.flatnonzero(tested)


def _identity(samples: Samples, people: str, width: int, rounds: int | None, seed: int) -> list[ProbeRow]:
    parts = list(identity_rounds(samples, seed, rounds))
    names = np.unique(samples.person[np.concatenate([tested for _, tested in parts])]) if parts else ()
    if len(names) < 2:
        raise RunError(f"probing the {people}: at least 2 people must show 2 expressions each, {len(names)} do")
    found = []
    for name, rows in samples.features.items():
        right = {kind: [] for kind in KINDS}
        for number, (trained, tested) in enumerate(parts):
            who = samples.person[trained], samples.person[tested]
            answers = _right(rows[trained], who[0], rows[tested], who[1], width, seed + number)
            for kind, those in answers.items():
                right[kind].append(those)
        n_train = round(np.mean([len(trained) for trained, _ in parts]))
        n_test = sum(len(tested) for _, tested in parts)
        for kind, those in right.items():
            share = float(np.concatenate(those).mean())
            wide = min(width, rows.shape[1], min(len(trained) for trained, _ in parts) - 1)
            found.append(ProbeRow(name, f"identity {kind}", people, share, None, len(names), n_train, n_test, wide))
    return found


# --- expression -------------------------------------------------------------------------------------------------------


def _expression(train: Samples, test: Samples, width: int, seed: int) -> list[ProbeRow]:
    names, counts = np.unique(train.expression, return_counts=True)
    chance = float((test.expression == names[counts.argmax()]).mean())
    n_people, found = len(np.unique(test.person)), []
    for name, rows in train.features.items():
        answers = _right(rows, train.expression, test.features[name], test.expression, width, seed)
        wide = min(width, rows.shape[1], len(rows) - 1)
        for kind, right in answers.items():
            share = float(right.mean())
            found.append(ProbeRow(name, f"expression {kind}", PEOPLE[0], share, chance, n_people, len(rows), len(right), wide))
    return found


# --- verification -----------------------------------------------------------------------------------------------------


def verification_pairs(samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ordered pairs as (first, second) (p, 2) int64, whether each is genuine (p,) bool, and its weight (p,).

    For a face a of person p and an expression e that is not a's: genuine are p's faces with e in other sequences, weight 1;
    impostors are all others' faces with e, weight (genuine ones of a with e) / (impostors of a with e).
    """
    names, expression = np.unique(samples.expression, return_inverse=True)           # (E,), (n,)
    shows = np.eye(len(names))[expression]                                           # (n, E) one-hot
    same = samples.person[:, None] == samples.person                                 # (n, n)
    genuine = same & (expression[:, None] != expression) & (samples.sequence[:, None] != samples.sequence)
    per_genuine, per_impostor = genuine @ shows, ~same @ shows                       # (n, E): faces with expression e, of face a
    genuine &= (per_impostor > 0)[:, expression]                                     # a pair without an impostor counts for nothing
    share = np.divide(per_genuine, per_impostor, out=np.zeros_like(per_genuine), where=per_impostor > 0)
    weight = np.where(genuine, 1.0, np.where(same, 0.0, share[:, expression]))       # (n, n)
    first, second = np.nonzero(weight)
    return np.stack([first, second], 1), genuine[first, second], weight[first, second]


def verification(scores: np.ndarray, genuine: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Return (EER, AUC) of scores (p,), higher meaning more alike: where as many impostors pass as genuine pairs fail.

    The EER is read off the ROC curve, straight between two thresholds.
    """
    passed, accepted, _ = roc_curve(genuine, scores, sample_weight=weight, drop_intermediate=False)  # impostors, genuine
    gap = passed - (1 - accepted)                                                    # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    part = gap[after - 1] / (gap[after - 1] - gap[after])                            # 0..1 of the way between the two
    eer = passed[after - 1] + part * (passed[after] - passed[after - 1])
    return float(eer), float(np.trapezoid(accepted, passed))


def _verification(train: Samples, samples: Samples, people: str, width: int) -> list[ProbeRow]:
    pairs, genuine, weight = verification_pairs(samples)
    if not genuine.any():
        raise RunError(f"probing the {people}: nobody shows an expression that another person shows in addition to one of their own")
    faces, found = np.unique(pairs), []
    for name, rows in train.features.items():
        _, own = reduced(rows, samples.features[name], width)
        unit = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
        figures = verification((unit @ unit.T)[pairs[:, 0], pairs[:, 1]], genuine, weight)
        wide = min(width, rows.shape[1], len(rows) - 1)
        for kind, value in zip(("eer", "auc"), figures, strict=True):
            n_people = len(np.unique(samples.person[faces]))
            found.append(ProbeRow(name, f"verification {kind}", people, value, 0.5, n_people, len(rows), len(faces), wide))
    return found
