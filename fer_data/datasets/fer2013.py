"""FER2013: 35,887 faces of 48x48 pixels from an image search, in three parts; people unknown. With FER+, newer labels of the same rows.

In:  the folder that holds one of these, at whatever depth. The first that is there is read.
Out: Sequence records, a picture each, with the part of the split; rows of a CSV in their order, files in natural order.

    root/
      fer2013.csv               emotion,pixels,Usage           columns in any order, blanks round their names are off
      icml_face_data.csv        emotion, Usage, pixels
      train.csv  test.csv       emotion,pixels; test.csv has no labels: its rows are found and not used
      train/angry/x.jpg  test/angry/x.jpg                  also Training, PublicTest, PrivateTest; validation; other spellings
      fer2013new.csv            the votes of FER+, given with `votes`: a row for each row of the CSV, in its order

Usage:    Training is the part train, PublicTest validation, PrivateTest test, as is the custom. Folders train and test have PublicTest
          and PrivateTest in one, and nothing in them tells which is which. A CSV without the column is refused, but for train.csv and
          test.csv.
Labels:   0 anger, 1 disgust, 2 fear, 3 happiness, 4 sadness, 5 surprise, 6 neutral. Folders go by their names: by alphabet neutral is 4,
          sad 5, surprise 6, and weights trained by the position of folders answer in another order than those trained by code.
FER+:     ten people voted on each picture. Joined by row, not by name: names drift from the rows, four occur twice, 173 rows have none.
          majority (Microsoft's): votes of 1 are dropped, then a class needs more than half. argmax: the most votes, ties are dropped.
          Rows of no name, of unknown and of NF (no face) have no label. Figures of the two rules cannot be compared.
Counts:   35,887 pictures (data_manifests/fer2013.json, which also has the copies that others changed).
Cite:     Goodfellow et al. 2013; FER+ Barsoum et al. 2016.      Licence: none is stated; pictures of people from the web.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from fer_data.datasets.published import load_facts, split_notes
from fer_data.datasets.recognise import wrong_tree
from fer_data.datasets.tree import walk
from fer_data.datasets.without_people import PARTS, digests_of_files, in_class_folders, without_duplicates
from fer_data.errors import DatasetError, TableError, UnreadableError
from fer_data.labels import FER2013_CODES, WORDS
from fer_data.pictures.pixel_table import PixelTable, open_table
from fer_data.records import Frame, Scan, Sequence, Skip
from fer_data.tables import Line, read_table, whole
from fer_data.text import unknown

__all__ = ["FERPLUS", "LABELS", "RULES", "majority", "most_votes", "scan"]

LABELS = ("fer2013", "ferplus")
# The columns of the votes; the last two are no expressions.
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf")

_TABLES = ("fer2013.csv", "icml_face_data.csv", "train.csv", "test.csv")          # the first is read; of the last two, both
_USAGE = {"training": "train", "publictest": "validation", "privatetest": "test"}
_PARTS = {**PARTS, **_USAGE}
_WORDS = {**WORDS, **{str(code): name for code, name in FER2013_CODES.items()}}
_THREE, _TWO = "three parts", "train and test, which has PublicTest and PrivateTest in one"     # forms of data_manifests/fer2013.json
_MEMBER = "the pictures are in fer2013.csv, in icml_face_data.csv, or in folders such as train/angry"


def majority(votes: Mapping[str, int]) -> str:
    """Return the column of FERPLUS that a row of votes means by Microsoft's rule; "unknown" where none has more than half.

    >>> majority({"anger": 5, "fear": 4, "neutral": 1}), majority({"anger": 5, "fear": 5})
    ('anger', 'unknown')
    """
    counted = {name: count for name, count in votes.items() if count > 1}
    best = max(counted, key=counted.__getitem__, default="unknown")
    return best if 2 * counted.get(best, 0) > sum(counted.values()) else "unknown"


def most_votes(votes: Mapping[str, int]) -> str:
    """Return the column of FERPLUS that has the most votes; "tie" where several have.

    >>> most_votes({"anger": 4, "fear": 3, "unknown": 3}), most_votes({"anger": 5, "fear": 5})
    ('anger', 'tie')
    """
    best = [name for name, count in votes.items() if count == max(votes.values())]
    return best[0] if len(best) == 1 else "tie"


RULES: Mapping[str, Callable[[Mapping[str, int]], str]] = {"majority": majority, "argmax": most_votes}


def scan(
    root: Path, labels: str = "fer2013", votes: Path | None = None, rule: str = "majority", drop_duplicates: bool = False
) -> Scan:
    """Return the pictures below `root`.

    labels           fer2013, or ferplus: by `votes` (fer2013new.csv) and `rule` (of RULES), for a CSV alone
    drop_duplicates  of pictures that are exactly the same keep one, that of the test part if it is there
    Raises DatasetError if this is no FER2013, or if the votes are not those of its rows.
    """
    for what, given, known in (("labels", labels, LABELS), ("rule", rule, RULES)):
        if given not in known:
            raise DatasetError(f"reading FER2013: {unknown(what, given, known)}")
    if (labels == "ferplus") != (votes is not None):
        raise DatasetError("reading FER2013: the labels ferplus and the file of their votes (fer2013new.csv) go together")
    files, left = walk(root)
    tables, others = _tables(files)
    pictures, strays = in_class_folders("fer2013", root, files, _MEMBER, _PARTS, _WORDS)
    if tables:
        sequences, skipped, notes, digests = _from_tables(Path(root), tables, votes, rule)
        detail = f"the same pictures are read from {tables[0]}"
        others += [Skip(one.frames[0].source, "other-part", detail=detail) for one in pictures]
        form = f"FER+ by {rule}" if votes else _THREE
    else:
        sequences, skipped, notes, digests = pictures, [], (), digests_of_files(root, pictures)
        form = _TWO if {one.split for one in sequences} == {"train", "test"} else _THREE
        if sequences and votes:
            raise DatasetError(f"reading FER+ below {root}: votes are joined by row; give the folder that holds fer2013.csv")
    if not sequences:
        raise wrong_tree("FER2013", "fer2013", root, files, _MEMBER)
    counts = split_notes("fer2013", form, sequences) if form in load_facts("fer2013").forms else ()
    sequences, copies, said = without_duplicates(sequences, digests, drop_duplicates)
    return Scan("fer2013", tuple(sequences), (*others, *skipped, *strays, *copies, *left), (*counts, *notes, *said))


def _tables(files: list[str]) -> tuple[list[str], list[Skip]]:
    """Return the CSV files to read, and Skips for others that hold the same pictures."""
    found: dict[str, list[str]] = {}
    for path in sorted(files, key=lambda path: path.count("/")):
        found.setdefault(path.rsplit("/", 1)[-1].lower(), []).append(path)
    there = [found[name][0] for name in _TABLES if name in found]
    if not there:
        return [], []
    first = there[0].rsplit("/", 1)[-1].lower()
    used = there if first == "train.csv" else there[:1]
    names, detail = {path.rsplit("/", 1)[-1].lower() for path in used}, f"the same pictures are read from {used[0]}"
    return used, [
        Skip(path, "duplicate" if name in names else "other-part", frames=int(name in names), detail=detail)
        for name in _TABLES for path in found.get(name, ()) if path not in used
    ]


def _from_tables(
    root: Path, tables: list[str], votes: Path | None, rule: str
) -> tuple[list[Sequence], list[Skip], tuple[str, ...], dict[str, str]]:
    """Return the rows as Sequences, Skips, sentences, and the digest of each one's pixels."""
    sequences, skipped, notes, digests = [], [], (), {}
    for source in tables:
        table = _opened(root, source)
        usage = _usage(table, root, source)
        if votes:
            expressions, notes = _ferplus(votes, rule, table, usage, source)
        else:
            expressions = table.column("emotion") or [""] * len(table)
        names = {name: name for name in FERPLUS} if votes else {str(code): name for code, name in FER2013_CODES.items()}
        prefix = "" if len(tables) == 1 else f"{Path(source).stem}-"
        for row, (label, part) in enumerate(zip(expressions, usage, strict=True)):
            key, problem = f"{prefix}{row:05d}", ""
            if label and label not in names:
                problem = f"emotion is 0 to 6, not {label!r}"
            elif part and part.lower() not in _USAGE:
                problem = f"Usage is Training, PublicTest or PrivateTest, not {part!r}"
            if problem:
                skipped.append(Skip(source, "bad-label", "", key, row, detail=f"row {row}: {problem}"))
                continue
            split = _USAGE.get(part.lower(), "")
            sequences.append(Sequence("fer2013", "", key, names.get(label), (Frame(source, row, row),), split=split))
            digests[key] = table.sha256(row)
    return sequences, skipped, notes, digests


def _usage(table: PixelTable, root: Path, source: str) -> list[str]:
    """Return the part of each row. Only train.csv and test.csv say it by their names."""
    column, by_name = table.column("usage"), {"train.csv": "Training", "test.csv": ""}
    name = source.rsplit("/", 1)[-1]
    if column is None and name.lower() not in by_name:
        raise DatasetError(
            f"reading FER2013 below {root}: {source} has no column Usage, which names the parts (Training, PublicTest, PrivateTest); get"
            " the file as it was published, or name it train.csv if all its rows are of the training part"
        )
    return [by_name[name.lower()]] * len(table) if column is None else list(column)


def _opened(root: Path, source: str) -> PixelTable:
    try:
        return open_table(root / source)
    except (TableError, UnreadableError) as error:
        raise DatasetError(f"reading FER2013 below {root}: {source}: {error}") from error


def _votes(line: Line, name: str, places: dict[str, int]) -> int:
    """Return how many votes a row of FER+ has for a name. Raises TableError if that is no whole number."""
    cell = line.cells[places[name]]
    votes = whole(cell or "0")
    if votes is None:
        raise TableError(f"line {line.number}, column {name}: votes are whole numbers from 0 on, got {cell!r}; give the file as it came")
    return votes


def _ferplus(votes: Path, rule: str, table: PixelTable, usage: list[str], source: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the expression of each row, "" where it has none, and sentences about those that have none."""
    doing = f"reading the votes of FER+ in {votes}"
    try:
        read = read_table(votes, ())
        places = {name.lower(): index for index, name in enumerate(read.columns)}
        if missing := [name for name in ("usage", "image name", *FERPLUS) if name not in places]:
            raise TableError(f"it has no column {missing[0]!r}; fer2013new.csv of microsoft/FERPlus has")
        counts = [{name: _votes(line, name, places) for name in FERPLUS} for line in read.rows]
    except (TableError, UnreadableError) as error:
        raise DatasetError(f"{doing}: {error}") from error
    if len(read.rows) != len(table):
        raise DatasetError(f"{doing}: it has {len(read.rows):,} rows, {source} {len(table):,}; they are joined row by row: give both whole")
    for row, (line, part) in enumerate(zip(read.rows, usage, strict=True)):
        if line.cells[places["usage"]].lower() != part.lower():
            theirs = line.cells[places["usage"]]
            raise DatasetError(f"{doing}: row {row} is of {theirs}, in {source} of {part or 'no part'}; the rows of one were reordered")
    found, left = [], Counter()
    for line, ballot in zip(read.rows, counts, strict=True):
        label = RULES[rule](ballot) if line.cells[places["image name"]] else "unnamed"
        found.append(label if label in FERPLUS[:-2] else "")
        left[label] += not found[-1]
    reasons = ", ".join(f"{name} {count:,}" for name in ("unknown", "tie", "nf", "unnamed") if (count := left[name]))
    return found, (f"labels of FER+ by {rule}, joined by row; without a label: {reasons or 'none'}",)
