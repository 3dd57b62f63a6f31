"""Folds: nobody in two of them, balanced where that is promised, the same for the same input. tests/mutate.py breaks it and expects red."""

import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_data.errors import DatasetError, ManifestError
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.protocol.folds import RULES, SEEDED, assign, inner_validation, refuse_shared_subjects, shuffled, step, stratified
from fer_data.store.manifest import read_manifest, read_settings

EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
people = st.dictionaries(
    st.integers(1, 999).map("S{:03d}".format), st.lists(st.sampled_from(EXPRESSIONS), min_size=1, max_size=6), min_size=2, max_size=40
)


def labels_of(sequences):
    """Return subject -> expressions."""
    labels = {}
    for row in sequences:
        labels.setdefault(row["subject"], []).append(row["expression"])
    return labels


def counts(labels, fold_of, folds):
    """Return sequences per (fold, expression), counted the slow way."""
    classes = sorted({name for names in labels.values() for name in names})
    return np.array([[sum(labels[s].count(name) for s in labels if fold_of[s] == fold) for name in classes] for fold in range(folds)])


def random_table(rng):
    """Return (labels, folds): 10-60 people, 2-7 expressions of any frequency, 1-6 sequences each."""
    n_people, n_classes = int(rng.integers(10, 61)), int(rng.integers(2, 8))
    share = rng.dirichlet(np.ones(n_classes))
    table = {f"S{i:03d}": [f"e{k}" for k in rng.choice(n_classes, rng.integers(1, 7), p=share)] for i in range(n_people)}
    return table, int(rng.integers(2, min(10, n_people // 2) + 1))


def balance(tables, seed):
    """Return (worst deviation in units of the largest person, mean deviation stratified, mean deviation at random)."""
    rng = np.random.default_rng(seed)
    worst, ours, chance = [], [], []
    for number in range(tables):
        labels, folds = random_table(rng)
        largest = max(max(Counter(names).values()) for names in labels.values())
        table = counts(labels, assign(labels, "stratified", folds, number), folds)
        random = counts(labels, assign(labels, "shuffled", folds, number), folds)
        deviation = np.abs(table - table.mean(0))
        worst.append(deviation.max() / largest)
        ours.append(deviation.mean())
        chance.append(np.abs(random - random.mean(0)).mean())
    return max(worst), np.mean(ours), np.mean(chance)


def test_step_on_ck_plus_is_the_split_of_the_literature(ck_plus_sequences):
    """The sizes of the public list of Emotion-FAN; its tenth fold has no fear."""
    labels = labels_of(ck_plus_sequences)
    fold_of = assign(labels, "step", 10)
    sizes = Counter(fold_of[row["subject"]] for row in ck_plus_sequences)
    assert [sizes[fold] for fold in range(10)] == [33, 39, 40, 35, 30, 37, 29, 29, 33, 22]
    fear = Counter(fold_of[row["subject"]] for row in ck_plus_sequences if row["expression"] == "fear")
    assert [fold for fold in range(10) if not fear[fold]] == [9]
    assert fold_of["S005"] == 0 and fold_of["S999"] == 117 % 10


@given(people, st.sampled_from(sorted(RULES)), st.integers(2, 10), st.integers(0, 50))
def test_every_rule_puts_each_person_into_one_fold_and_nobody_stays_out(labels, rule, folds, seed):
    folds = min(folds, len(labels))
    most = max(Counter(name for names in labels.values() for name in names).values())
    if rule == "stratified" and most < folds:
        with pytest.raises(DatasetError, match=f"choose at most {most}"):
            assign(labels, rule, folds, seed)
        return
    fold_of = assign(labels, rule, folds, seed)
    assert list(fold_of) == sorted(labels) and set(fold_of.values()) == set(range(folds))


@given(people, st.sampled_from(sorted(RULES)), st.integers(0, 9), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_the_order_of_subjects_and_of_their_sequences_does_not_matter(labels, rule, seed, random):
    mixed = list(labels.items())
    random.shuffle(mixed)
    mixed = {subject: random.sample(names, len(names)) for subject, names in mixed}
    if rule == "stratified" and max(Counter(name for names in labels.values() for name in names).values()) < 2:
        return
    assert assign(mixed, rule, 2, seed) == assign(labels, rule, 2, seed)
    assert inner_validation_or_none(mixed, seed) == inner_validation_or_none(labels, seed)


def inner_validation_or_none(labels, seed):
    try:
        return inner_validation(labels, 0.3, seed)
    except DatasetError:
        return None


def test_stratified_folds_are_balanced_over_random_tables():
    """100 tables: no cell is further from its share than twice what one person brings, and well under half of chance on average."""
    worst, ours, chance = balance(100, seed=0)
    assert worst <= 2 and ours < 0.45 * chance, (worst, ours, chance)


@pytest.mark.torture
def test_stratified_folds_are_balanced_over_a_thousand_tables():
    """Seen: at worst 1.4 times what the largest person brings; on average 0.54 sequences off, 1.54 at random."""
    worst, ours, chance = balance(1000, seed=1)
    assert worst <= 2 and ours < 0.45 * chance, (worst, ours, chance)


@pytest.mark.parametrize("seed", range(5))
def test_stratified_on_ck_plus_leaves_no_fold_without_an_expression(ck_plus_sequences, seed):
    """step has a fold without fear, and sizes from 22 to 40; here each cell is within 2.5 of its share."""
    labels = labels_of(ck_plus_sequences)
    table = counts(labels, assign(labels, "stratified", 10, seed), 10)
    assert table.min() >= 1 and np.abs(table - table.mean(0)).max() < 2.5 and np.ptp(table.sum(1)) <= 8


@pytest.mark.parametrize("rule", SEEDED)
def test_seeds_decide(rule, ck_plus_sequences):
    labels = labels_of(ck_plus_sequences)
    tables = [assign(labels, rule, 10, seed) for seed in (3, 3, 4)]
    assert tables[0] == tables[1] != tables[2]


@pytest.mark.parametrize("rule", SEEDED)
def test_a_seed_may_be_of_any_size(rule, ck_plus_sequences):
    """Seen red: `stratified` a traceback of scikit-learn, whose seeds end at 2**32 - 1."""
    labels = labels_of(ck_plus_sequences)
    tables = [assign(labels, rule, 10, seed) for seed in (2**32 - 1, 5_000_000_000, 5_000_000_000, 5_000_000_001)]
    assert tables[0] != tables[1] == tables[2] != tables[3]


@given(st.sets(st.text("0123456789AS", min_size=1), min_size=2, max_size=30), st.integers(2, 8), st.integers(0, 9))
def test_a_shuffle_makes_equal_folds(subjects, folds, seed):
    folds = min(folds, len(subjects))
    table = shuffled(subjects, folds, seed)
    sizes = Counter(table.values())
    assert set(table) == subjects and max(sizes.values()) - min(sizes.values()) <= 1 and len(sizes) == folds


def test_shuffles_move_people_about():
    """Each of 20 people meets each of 4 folds, about as often, by 400 seeds; seen red when every seed was the first."""
    subjects = [f"P{i:03d}" for i in range(20)]
    met = Counter((subject, fold) for seed in range(400) for subject, fold in shuffled(subjects, 4, seed).items())
    assert len(met) == 80 and all(60 < count < 140 for count in met.values())


@given(people, st.sampled_from([0.1, 0.2, 0.3, 0.5]), st.integers(0, 99))
def test_inner_validation_leaves_every_expression_to_training(labels, share, seed):
    classes = {name for names in labels.values() for name in names}
    sole = {name for name in classes if sum(name in names for names in labels.values()) == 1}
    free = [subject for subject, names in labels.items() if not sole & set(names)]
    if not free:
        with pytest.raises(DatasetError, match="only one to show"):
            inner_validation(labels, share, seed)
        return
    taken = inner_validation(labels, share, seed)
    assert list(taken) == sorted(set(taken)) and 0 < len(taken) < len(labels) and set(taken) <= set(free)
    assert {name for subject in labels if subject not in taken for name in labels[subject]} == classes


def test_inner_validation_takes_the_share_of_each_expression(ck_plus_sequences):
    """A fifth of CK+: every expression within 1.5 sequences of its fifth; by chance up to 5 off."""
    labels = labels_of(ck_plus_sequences)
    for seed in range(5):
        taken = inner_validation(labels, 0.2, seed)
        total = Counter(name for names in labels.values() for name in names)
        found = Counter(name for subject in taken for name in labels[subject])
        assert all(abs(found[name] - 0.2 * total[name]) <= 1.5 for name in total), found
    assert inner_validation(labels, 0.2, 0) != inner_validation(labels, 0.2, 1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: assign({"a": ["x"], "b": ["x"]}, "random", 2), "unknown rule 'random'; choose step, stratified or shuffled"),
        (lambda: assign({"a": ["x"], "b": ["x"]}, "step", 3), r"3 folds cannot be made of 2 labelled subjects; .*use --folds 2$"),
        (lambda: assign({"a": ["x"], "b": ["x"]}, "step", 1), r"1 folds cannot be made of 2 labelled subjects; choose 2$"),
        (lambda: assign({}, "step", 2), r"^assigning folds: two labelled subjects or more are needed, there is none$"),
        (lambda: assign({"a": ["x"]}, "step", 2), r"^assigning folds: two labelled subjects or more are needed, there is one \(a\)$"),
        (lambda: assign({"a": ["x"], "b": ["x"]}, "shuffled", 2, -1), "a seed is 0 or above, got -1"),
        (lambda: assign({"a": ["x"], "b": []}, "stratified", 2), r"one or more expressions, got \[\] for b"),
        (lambda: assign({"a": ["x"], "b": "anger"}, "step", 2), "got 'anger' for b"),
        (lambda: assign({"a": ["x"], "b": ["y"]}, "stratified", 2), "choose at most 1, the sequences of the commonest"),
        (lambda: inner_validation({"a": ["x"], "b": ["x"]}, 1.0), "choose a share between 0 and 1, not 1.0"),
        (lambda: inner_validation({"a": ["x"]}, 0.5), "each of the 1 subjects is the only one to show some expression"),
    ],
)
def test_what_cannot_be_is_one_sentence(call, sentence):
    with pytest.raises(DatasetError, match=sentence):
        call()
    assert step(["a", "b"], 2) == {"a": 0, "b": 1} and len(stratified({"a": ["x"], "b": ["x"]}, 2)) == 2


def test_a_person_in_two_folds_is_refused():
    frame = pd.DataFrame({"dataset": ["ck+", "ck+", "mmi"], "subject": ["S005", "S006", "S005"], "fold": [0, 1, 1]})
    refuse_shared_subjects(frame)                                        # S005 of MMI is somebody else
    with pytest.raises(ManifestError, match=r"ck\+/S005 is in folds 0 and 1 \(1 such people\)"):
        refuse_shared_subjects(frame.assign(dataset="ck+"))
    with pytest.raises(ManifestError, match="S005 is in folds 0 and 1"):
        refuse_shared_subjects(frame[["subject", "fold"]])


@pytest.mark.parametrize(("one", "other"), [("S 1", "S  1"), ("Ren\u00e9", "Rene\u0301"), ("1.0", "1"), ("S1\u200b", "S1")])
def test_a_person_in_two_folds_under_two_spellings_is_refused(one, other):
    """A manifest of an older version can hold such people. Seen red: subjects compared as they are written."""
    with pytest.raises(ManifestError, match="is in folds 0 and 1"):
        refuse_shared_subjects(pd.DataFrame({"dataset": "folder", "subject": [one, other], "fold": [0, 1]}))


def test_prepare_takes_rule_and_seed_and_shards_know_nothing_of_them(synthetic_ck, prepared_ck, tmp_path):
    """Another rule writes another manifest, and nothing else."""
    out = shutil.copytree(prepared_ck, tmp_path / "out")
    config = PrepareConfig(landmarks="dlib", folds=2, views="virtual", fold_rule="shuffled", fold_seed=5)
    summary = prepare_dataset("ck+", synthetic_ck, out, config)
    assert (summary.decoded, summary.detected, summary.shards_written) == (0, 0, 0)
    before, after = read_manifest(prepared_ck), read_manifest(out)
    pd.testing.assert_frame_equal(before.drop(columns="fold"), after.drop(columns="fold"))
    labelled = {row.subject: [row.expression] for row in after.itertuples()}
    assert dict(zip(after["subject"], after["fold"], strict=True)) == assign(labelled, "shuffled", 2, 5)
    assert read_settings(out)["config"]["fold_rule"] == "shuffled" and read_settings(out)["config"]["fold_seed"] == 5
