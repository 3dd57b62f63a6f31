"""Judge a split: which people are both trained on and tested, what is tested twice or never. Nothing is read here.

In:  Split: items (who is in each picture) and folds (which items are trained on and tested).
Out: AuditReport: counts for each fold and overall, examples, sentences.

A test image is leaked if its subject is anywhere in the training set of the same fold. Test images are counted as often
as they are tested, since that is how often they enter an accuracy.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

from fer_data.audit.split import Item, Split, SplitFold
from fer_data.errors import SplitError
from fer_data.text import natural_key

__all__ = ["Tally", "Example", "Pair", "PixelReport", "AuditReport", "audit", "with_pixels"]


@dataclass(frozen=True)
class Tally:
    """What one fold does, or all of them together (then: sums over folds, and different people, sequences, images)."""

    name: str
    train_images: int                 # entries
    test_images: int                  # entries: an image that is tested twice counts twice
    leaked_images: int                # of test_images: their subject is in training
    test_subjects: int                # different people tested
    leaked_subjects: int              # of them: also in training
    shared_images: int                # of test_images: the same picture, or a copy of it, is in training
    shared_sequences: int | None      # sequences on both sides; None: the split does not tell sequences
    tested_twice: int                 # images tested more than once in the whole split
    never_tested: int                 # images that occur somewhere and that no fold tests
    missing: tuple[str, ...]          # expressions of the split that are not tested
    missing_in_training: tuple[str, ...]         # ... and that are not trained on
    validation_images: int = 0
    validation_leaked: int = 0        # of validation_images: their subject is in training
    test_in_validation: int = 0       # of test_images: their subject is in validation, where the model is chosen
    validation_tested: int = 0        # of test_images: the same picture, or a copy of it, is in validation

    @property
    def leaked_percent(self) -> float:
        """Share of test images whose subject is in training, 0..100."""
        return 100 * self.leaked_images / self.test_images if self.test_images else 0.0

    @property
    def leaks(self) -> bool:
        """Whether a person or a picture stands on two sides."""
        return any((self.leaked_images, self.shared_images, self.shared_sequences, self.validation_leaked, self.test_in_validation))


@dataclass(frozen=True)
class Example:
    """One leaked test image, for a reader to look up."""

    subject: str
    leaked_images: int                # test images of this subject that leak, over all folds
    folds: tuple[str, ...]            # where
    fold: str                         # of the image below
    test_image: str
    train_image: str                  # of the same subject, in training of the same fold


@dataclass(frozen=True)
class Pair:
    """Two pictures that are the same, or look the same, on different sides of a fold."""

    kind: str                         # exact or near
    distance: int                     # bits of the perceptual hash that differ; 0 for exact
    mirrored: bool
    test_image: str
    train_image: str
    test_subject: str
    train_subject: str
    fold: str                         # the first fold in which they stand on different sides


@dataclass(frozen=True)
class PixelReport:
    """What comparing pixels found."""

    compared: int                     # pictures
    not_compared: int                 # without a picture, unreadable, or without any structure
    threshold: int | None             # bits up to which two pictures are near; None: only bytes were compared
    exact: int                        # pairs of the same bytes under different names, on different sides
    near: int                         # pairs of different people, or of people unknown, that look the same, on different sides
    pairs: tuple[Pair, ...]           # the closest of them
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuditReport:
    """The answer: `leaks`, and the figures behind it."""

    unit: str
    kind: str                         # cross-validation or hold-out
    images: int                       # different items in the whole split
    subjects: int                     # different people in the whole split; 0: people unknown
    folds: tuple[Tally, ...]
    overall: Tally
    examples: tuple[Example, ...]     # the people with the most leaked images first
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    doubts: tuple[str, ...] = ()      # of the warnings, those about who is who
    pixels: PixelReport | None = field(default=None)

    @property
    def leaks(self) -> bool:
        """Whether the split tests on people, or pictures, that it trains or chooses on."""
        return self.overall.leaks or bool(self.pixels and self.pixels.exact)

    @property
    def verdict(self) -> str:
        """LEAK; UNCLEAR if nobody leaks but who is who is in doubt; CLEAN."""
        return "LEAK" if self.leaks else "UNCLEAR" if self.doubts else "CLEAN"

    @property
    def doubtful(self) -> bool:
        """Whether anything else deserves a look: coverage, missing classes, near duplicates, warnings."""
        whole = not self.overall.tested_twice and (self.kind == "hold-out" or not self.overall.never_tested)
        classes = any(fold.missing or fold.missing_in_training for fold in self.folds)
        return not whole or classes or bool(self.warnings) or bool(self.pixels and self.pixels.near)

    def to_json(self) -> dict:
        """Return the report as plain JSON types; each tally has its percentage beside its counts."""
        content = asdict(self)
        for name, tally in (("overall", self.overall), *zip(range(len(self.folds)), self.folds, strict=True)):
            place = content["overall"] if name == "overall" else content["folds"][name]
            place["leaked_percent"] = tally.leaked_percent
        content |= {"leaks": self.leaks, "doubtful": self.doubtful, "verdict": self.verdict}
        return content

    def __rich_console__(self, console, options):
        from fer_data.audit.text import told

        yield from told(self, options)


def audit(split: Split) -> AuditReport:
    """Return what is shared between the sides of each fold of `split`, what is tested twice or never, what is missing.

    Raises SplitError if there is no fold, if a fold has nothing to train on or to test, or names an unknown item.
    """
    _check(split)
    times = Counter(image for fold in split.folds for image in fold.test)
    classes = {item.expression for item in split.items.values() if item.expression is not None}
    folds = tuple(_tally(fold, split.items, times, classes) for fold in split.folds)
    kind = "cross-validation" if len(folds) > 1 else "hold-out"
    subjects = len(_people(split.items.values()))
    examples = _examples(split)
    overall = _overall(split, folds, times, classes)
    return AuditReport(split.unit, kind, len(split.items), subjects, folds, overall, examples, split.notes, split.warnings, split.doubts)


def with_pixels(report: AuditReport, pixels: PixelReport) -> AuditReport:
    """Return the report with what comparing pixels found."""
    return replace(report, pixels=pixels)


def _check(split: Split) -> None:
    if not split.folds:
        raise SplitError("auditing a split: there is no fold in it")
    for fold in split.folds:
        for side, names in (("to train on", fold.train), ("to test", fold.test)):
            if not names:
                raise SplitError(f"auditing fold {fold.name}: it has nothing {side}")
        unknown = next((name for name in (*fold.train, *fold.test, *fold.validation) if name not in split.items), None)
        if unknown is not None:
            raise SplitError(f"auditing fold {fold.name}: {unknown!r} is none of the split's items")


def _frame(item: Item) -> tuple:
    """Return what was recorded: the same for a picture and its copies."""
    return ("image", item.image) if item.frame is None else ("frame", item.subject, item.sequence, item.frame)


def _people(items: Iterable[Item]) -> set[str]:
    """Return who is in the items, as far as that is known."""
    return {item.subject for item in items if item.subject}


def _sequences(items: Iterable[Item]) -> set[tuple[str, str]]:
    return {(item.subject, item.sequence) for item in items if item.sequence is not None}


def _missing(classes: set[str], items: Iterable[Item]) -> tuple[str, ...]:
    return tuple(sorted(classes - {item.expression for item in items}, key=natural_key))


def _tally(fold: SplitFold, items: Mapping[str, Item], times: Counter, classes: set[str]) -> Tally:
    train, test, validation = ([items[name] for name in side] for side in (fold.train, fold.test, fold.validation))
    trained, tested, chosen_on = map(_people, (train, test, validation))
    frames, seen = {_frame(item) for item in train}, {_frame(item) for item in validation}
    known = all(item.sequence is not None for item in (*train, *test))
    return Tally(
        name=fold.name,
        train_images=len(train),
        test_images=len(test),
        leaked_images=sum(item.subject in trained for item in test),
        test_subjects=len(tested),
        leaked_subjects=len(tested & trained),
        shared_images=sum(_frame(item) in frames for item in test),
        shared_sequences=len(_sequences(train) & _sequences(test)) if known else None,
        tested_twice=sum(times[name] > 1 for name in set(fold.test)),
        never_tested=sum(times[name] == 0 for name in {*fold.train, *fold.validation}),
        missing=_missing(classes, test),
        missing_in_training=_missing(classes, train),
        validation_images=len(validation),
        validation_leaked=sum(item.subject in trained for item in validation),
        test_in_validation=sum(item.subject in chosen_on for item in test),
        validation_tested=sum(_frame(item) in seen for item in test),
    )


def _overall(split: Split, folds: tuple[Tally, ...], times: Counter, classes: set[str]) -> Tally:
    sides = [({split.items[name] for name in fold.train}, {split.items[name] for name in fold.test}) for fold in split.folds]
    tested = {item for _, test in sides for item in test}
    leaked = set()
    shared_sequences: set | None = set()
    for train, test in sides:
        leaked |= _people(train) & _people(test)
        if shared_sequences is not None:
            known = all(item.sequence is not None for item in train | test)
            shared_sequences = shared_sequences | (_sequences(train) & _sequences(test)) if known else None

    def total(name: str) -> int:
        return sum(getattr(fold, name) for fold in folds)

    return Tally(
        name="all",
        train_images=total("train_images"),
        test_images=total("test_images"),
        leaked_images=total("leaked_images"),
        test_subjects=len(_people(tested)),
        leaked_subjects=len(leaked),
        shared_images=total("shared_images"),
        shared_sequences=None if shared_sequences is None else len(shared_sequences),
        tested_twice=sum(count > 1 for count in times.values()),
        never_tested=sum(times[name] == 0 for name in split.items),
        missing=_missing(classes, tested),
        missing_in_training=_missing(classes, {item for train, _ in sides for item in train}),
        validation_images=total("validation_images"),
        validation_leaked=total("validation_leaked"),
        test_in_validation=total("test_in_validation"),
        validation_tested=total("validation_tested"),
    )


def _examples(split: Split) -> tuple[Example, ...]:
    """Return an example for each person who leaks, those with the most leaked images first."""
    leaked: dict[str, list[tuple[str, str]]] = {}                        # subject -> (fold, test image)
    trained: dict[tuple[str, str], str] = {}                             # (fold, subject) -> first training image
    for fold in split.folds:
        for name in fold.train:
            if split.items[name].subject:
                trained.setdefault((fold.name, split.items[name].subject), name)
        for name in fold.test:
            subject = split.items[name].subject
            if (fold.name, subject) in trained:
                leaked.setdefault(subject, []).append((fold.name, name))
    examples = []
    for subject, places in leaked.items():
        folds = tuple(dict.fromkeys(fold for fold, _ in places))
        fold, name = places[0]
        examples.append(Example(subject, len(places), folds, fold, name, trained[fold, subject]))
    return tuple(sorted(examples, key=lambda example: (-example.leaked_images, natural_key(example.subject))))
