"""The manifest: one row per selected frame, with a list of what was not selected and a record of how all was made.

In:  rows of prepare, Skip records, settings.
Out: manifest.parquet (authoritative), manifest.csv (derived from it), skipped.csv, settings.json. They open in pandas
     without this project.

Rows are checked and written a part at a time: a manifest of any length takes the memory of a short one, and some bytes a row.
"""

import io
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fer_data.errors import ManifestError, UnreadableError
from fer_data.files import (
    growing,
    parse_object,
    read_file,
    remove_durably,
    reported,
    sealed_json,
    sha256_of_bytes,
    sha256_of_file,
    unseal,
    write_bytes_atomically,
)
from fer_data.labels import EXPRESSIONS
from fer_data.records import FRAMINGS, ROLES, SPLITS, Skip
from fer_data.schema import read
from fer_data.store.own_files import is_run

__all__ = ["SCHEMA_VERSION", "COLUMNS", "MATRIX", "LATER", "SPLIT", "image_id", "write_manifest", "withdraw",
           "read_manifest", "read_skipped", "check_csv", "read_settings", "manifest_sha256"]

SCHEMA_VERSION = 3

MATRIX = ("matrix_00", "matrix_01", "matrix_02", "matrix_10", "matrix_11", "matrix_12")
# column -> (dtype, meaning); data_manifests/README.md prints this table
COLUMNS = {
    "image_id": ("str", "dataset/subject/sequence/frame, unique; without subject where it is empty"),
    "dataset": ("str", "the name given to `fer-data prepare`; of any folder, its --name"),
    "subject": ("str", "the database's own id of the person, of joined folders database:id; empty in every row: people unknown"),
    "sequence": ("str", "id of the sequence, unique within the subject"),
    "frame": ("int64", "frame number as the database counts"),
    "expression": ("str", "a name from fer_data.labels.EXPRESSIONS"),
    "role": ("str", "peak: trained and tested on; reference: a neutral first frame, neither trained nor tested on"),
    "fold": ("int64", "0-based; all frames of a subject have the same one; -1: people unknown"),
    "shard": ("str", "file below shards/ that holds the face"),
    "row": ("int64", "0-based row of the face in that shard"),
    "source": ("str", "path of the picture or clip, relative to the database's root"),
    "position": ("int64", "0-based frame of the clip, or row of the table; -1: the source is a picture"),
    "framing": ("str", "how the picture was looked at: whole, turned, or half of it"),
    "source_sha256": ("str", "of the bytes of the source file; of a row of a table, of its pixels as they are written there"),
    "face_sha256": ("str", "of the pixels of the aligned face"),
    "backend": ("str", "landmark backend"),
    "backend_version": ("str", "version of the library behind it"),
    "weights_sha256": ("str", "of the backend's model files; empty: it has none"),
    "faces_found": ("int64", "faces that the detector saw; the largest was taken"),
    "motion": ("float64", "mean move of the points since the sequence's previous row, in eye distances; 0: first row"),
    "jump": ("bool", "that motion, per frame number, is more than 6 times the median of the data set: look at it"),
    **dict.fromkeys(MATRIX, ("float64", "picture -> canvas, pixels: element of the 2x3 matrix")),
    "residual_px": ("float64", "root mean square distance of the rigid points from the template, canvas pixels; 0 without points"),
    "invented": ("float64", "share of the face's pixels that lie outside the picture and repeat its border, 0..1"),
}
# The last column of a manifest whose people are unknown, and of no other.
SPLIT = {"split": ("str", "the database's own part: train, validation or test; empty: it names none")}
LATER = ("fold", "jump")              # known once all faces are
SKIP_COLUMNS = {field.name: {str: "str", int: "int64"}[field.type] for field in fields(Skip)}         # name -> dtype

_SHARD = re.compile(r"[0-9]{5}\.h5")
_PART = 1000                          # rows that are checked and written at once
_GROUP = 5                            # parts in a row group of the Parquet file
_UNIQUE = (("image_id",), ("shard", "row"))      # columns that tell a row from all others


class _Config(TypedDict):
    landmarks: str
    detector: str
    views: str
    colour: str
    folds: int
    fold_rule: str
    options: dict


class _Backend(TypedDict):
    name: str
    version: str
    weights_sha256: str

_CsvHashes = TypedDict("_CsvHashes", {"manifest.csv": str, "skipped.csv": str})


class _Settings(TypedDict):
    """What is relied on of settings.json; more may be there."""

    dataset: str
    drawn: bool
    classes: list[str]
    frame_rule: str
    code_version: str
    opencv: str
    pipeline_version: int
    notes: list[str]
    config: _Config
    backend: _Backend
    found: int
    kept: int
    skipped: dict[str, int]
    shards: dict[str, str]
    manifest_sha256: str
    csv_sha256: _CsvHashes


def image_id(dataset: str, subject: str, sequence: str, frame: int) -> str:
    """Return the id of a frame.

    >>> image_id("ck+", "S005", "001", 11)
    'ck+/S005/001/00000011'
    """
    return "/".join(part for part in (dataset, subject, sequence, f"{frame:08d}") if part)


def write_manifest(out: Path, rows: Iterable[dict], skipped: Iterable[Skip], settings: dict) -> None:
    """Write the manifest and the files that go with it into `out`. The rows are gone through more than once.

    Where the Parquet file lies, all that it tells of is there: it is removed first and written last, unless nothing changes.
    Same rows, same bytes; one that lies there with the same rows stays, in whatever row groups an earlier version wrote it.
    Raises ManifestError if the rows break the schema; nothing is written then.
    """
    out = Path(out)
    with growing(out / "manifest.parquet") as parquet, growing(out / "manifest.csv") as csv, growing(out / "skipped.csv") as skips:
        with reported("writing", out / "manifest.parquet"):
            _write_rows(rows, parquet, csv, str(out))
            with open(skips, "wb") as file:
                for number, frame in enumerate(_frames(map(asdict, sorted(skipped)), SKIP_COLUMNS)):
                    _append_csv(file, number, frame)
            hashes = {"manifest.csv": sha256_of_file(csv), "skipped.csv": sha256_of_file(skips)}
            if _lie_there(out, hashes["manifest.csv"]):
                shutil.copyfile(out / "manifest.parquet", parquet)
        manifest = sha256_of_file(parquet)
        sealed = sealed_json({**settings, "manifest_sha256": manifest, "csv_sha256": hashes, "schema_version": SCHEMA_VERSION})
        written = {"manifest.parquet": manifest, "settings.json": sha256_of_bytes(sealed), **hashes}
        if all(_holds(out / name, sha256) for name, sha256 in written.items()):
            for part in (parquet, csv, skips):
                part.unlink()
        else:
            withdraw(out)
            write_bytes_atomically(out / "settings.json", sealed)


def withdraw(out: Path) -> None:
    """Remove the manifest and what was written about it, if there: to be called before anything that they tell of is changed."""
    for name in ("manifest.parquet", "report.html", "card.md", "croissant.json"):
        remove_durably(Path(out) / name)


def _holds(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of_file(path) == sha256


def _lie_there(out: Path, csv_sha256: str) -> bool:
    """Return whether the manifest below `out` is whole and has the rows of a CSV file with this hash."""
    try:
        settings = read_settings(out)
    except ManifestError:
        return False
    return settings["csv_sha256"]["manifest.csv"] == csv_sha256 and _holds(out / "manifest.parquet", settings["manifest_sha256"])


def _write_rows(rows: Iterable[dict], parquet: Path, csv: Path, where: str) -> None:
    """Check rows and write them in both forms. Raises ManifestError if they break the schema."""
    columns = COLUMNS | (SPLIT if "split" in next(iter(rows), {}) else {})
    dtypes = {name: dtype for name, (dtype, _) in columns.items()}
    digests: dict[tuple[str, ...], list[np.ndarray]] = {unique: [] for unique in _UNIQUE}
    schema = pa.Schema.from_pandas(next(_frames([], dtypes)), preserve_index=False)
    group: list[pa.Table] = []
    with open(csv, "wb") as text, open(parquet, "wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for number, frame in enumerate(_frames(rows, dtypes)):
            frame = _checked(frame, "writing the manifest", where)
            for unique, found in digests.items():
                found.append(_digests(frame, unique))
            _append_csv(text, number, frame)
            if len(group) == _GROUP:
                writer.write_table(pa.concat_tables(group).combine_chunks())
                group.clear()
            group.append(pa.Table.from_pandas(frame, schema, preserve_index=False))
        writer.write_table(pa.concat_tables(group).combine_chunks())
    for unique, found in digests.items():
        values, counts = np.unique(np.concatenate(found), return_counts=True)
        if (twice := values[counts > 1]).size:                           # the same, or a chance of one in billions: looked at again
            alike = [frame[np.isin(_digests(frame, unique), twice)] for frame in _frames(rows, dtypes)]
            _checked(pd.concat(alike, ignore_index=True), "writing the manifest", where)


def _digests(frame: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    """Return 64 bits for each row of what it has in these columns."""
    return pd.util.hash_pandas_object(frame[list(names)], index=False).to_numpy()


def _frames(rows: Iterable[dict], dtypes: dict[str, str]) -> Iterator[pd.DataFrame]:
    """Yield rows as DataFrames of these columns, _PART rows at a time; one without rows if there is none."""
    rows = iter(rows)
    part = list(islice(rows, _PART))
    yield pd.DataFrame(part, columns=list(dtypes)).astype(dtypes)
    while part := list(islice(rows, _PART)):
        yield pd.DataFrame(part, columns=list(dtypes)).astype(dtypes)


def _append_csv(file: BinaryIO, number: int, frame: pd.DataFrame) -> None:
    """Write the part of a table with this number, from 0."""
    frame.to_csv(_Lines(file), header=not number, index=False, lineterminator="\r\n")


class _Lines:
    """Takes the rows that csv's writer ends with "\\r\\n", and ends them with "\\n": it quotes only the ends of lines that it writes."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def write(self, row: str) -> None:
        self._file.write(row.removesuffix("\r\n").encode() + b"\n")


def read_manifest(out: Path) -> pd.DataFrame:
    """Return the manifest below `out` as a DataFrame with the columns of COLUMNS, one row per selected frame.

    Raises ManifestError if there is none, if it is not the one that was written, or if it breaks its schema.
    """
    doing, path = "reading a manifest", Path(out) / "manifest.parquet"
    data = _written(doing, path, lambda settings: settings["manifest_sha256"])
    try:
        frame = pd.read_parquet(io.BytesIO(data))
    except (OSError, ValueError) as error:  # pyarrow's errors are children of these two
        raise ManifestError(f"{doing}: {path} is not a whole Parquet file ({str(error).splitlines()[0]})") from error
    return _checked(frame, doing, str(path))


def read_skipped(out: Path) -> pd.DataFrame:
    """Return skipped.csv below `out` as a DataFrame with the fields of records.Skip as columns."""
    doing, path = "reading what was skipped", Path(out) / "skipped.csv"
    data = _written(doing, path, lambda settings: settings["csv_sha256"]["skipped.csv"])
    try:
        frame = pd.read_csv(io.BytesIO(data), dtype="str", keep_default_na=False)
        # As text first: the parser itself takes INF for a number and only warns when it makes it an integer.
        frame = frame.astype({name: "int64" for name, dtype in SKIP_COLUMNS.items() if dtype == "int64" and name in frame.columns})
    except (ValueError, OverflowError) as error:  # pandas' parser errors are children of ValueError
        raise ManifestError(f"{doing}: {path} is not the CSV that prepare writes ({' '.join(str(error).split())})") from error
    if list(frame.columns) != list(SKIP_COLUMNS) or not isinstance(frame.index, pd.RangeIndex):
        raise ManifestError(f"{doing}: {path} must have the columns {', '.join(SKIP_COLUMNS)}; it has others")
    return frame


def check_csv(out: Path) -> None:
    """Raise ManifestError unless manifest.csv below `out` is the one that was written; nothing of ours reads it."""
    _written("reading the manifest as text", Path(out) / "manifest.csv", lambda settings: settings["csv_sha256"]["manifest.csv"])


def _written(doing: str, path: Path, sha256: Callable[[dict], str]) -> bytes:
    """Return the bytes of a file, which must be the ones that the settings next to it name; nothing else is ever parsed."""
    if not path.is_file():
        raise _absent(doing, path, " when all else is done")
    wanted = sha256(read_settings(path.parent))  # refuses another schema version first, with both numbers
    data = _bytes(doing, path)
    if sha256_of_bytes(data) != wanted:
        raise ManifestError(f"{doing}: {path} is not the one that settings.json was written with; run `fer-data prepare` again")
    return data


def _absent(doing: str, path: Path, when: str = "") -> ManifestError:
    """Return what to raise where there is no `path`; `when`: when `fer-data prepare` writes it."""
    if is_run(path.parent):
        what = "is a run of fer-model, not a prepared data set; give the folder that `fer-data prepare` wrote"
        return ManifestError(f"{doing}: {path.parent} {what}")
    return ManifestError(f"{doing}: there is no {path}; `fer-data prepare` writes one{when}")


def _bytes(doing: str, path: Path) -> bytes:
    try:
        return read_file(path)
    except UnreadableError as error:
        raise ManifestError(f"{doing}: {error}") from error


def read_settings(out: Path) -> dict:
    """Return settings.json below `out`: how the folder was made.

    Raises ManifestError if it is missing, damaged, or of a schema version that this program does not read.
    """
    doing, path = "reading settings", Path(out) / "settings.json"
    if not path.is_file():
        raise _absent(doing, path)
    data = _bytes(doing, path)
    try:
        version = parse_object(data).get("schema_version")
        if version != SCHEMA_VERSION:
            raise ManifestError(
                f"{doing}: this program reads schema version {SCHEMA_VERSION}, {path} has version {version!r};"
                " prepare again into a new folder, or use the version that wrote it"
            )
        settings = unseal(data)
    except ValueError as error:
        raise ManifestError(f"{doing}: {path} is damaged ({error}); run `fer-data prepare` again") from error
    try:
        settings = read(_Settings, settings)
        if strange := [name for name in settings["shards"] if not _SHARD.fullmatch(name)]:
            raise ValueError(f"shards names {strange[0]!r}")
    except ValueError as error:
        raise ManifestError(f"{doing}: {path} is not what prepare writes ({error})") from error
    return settings


def manifest_sha256(out: Path) -> str:
    """Return the sha256 of manifest.parquet below `out`: the identity of a prepared data set, folds included."""
    path = Path(out) / "manifest.parquet"
    if not path.is_file():
        raise _absent("hashing a manifest", path, " when all else is done")
    return sha256_of_bytes(path.read_bytes())


def _checked(frame: pd.DataFrame, doing: str, where: str) -> pd.DataFrame:
    """Return `frame` if it keeps the schema; raise ManifestError naming column, value and row otherwise."""
    import pandera.errors  # about a second to import, needed only here
    import pandera.pandas as pandera

    in_range = pandera.Check.in_range
    unknown = "split" in frame                                           # who is in the pictures
    columns = COLUMNS | (SPLIT if unknown else {})
    checks = {
        "image_id": [pandera.Check.str_matches(r"^[^/]+/.+/\d{8,}$" if unknown else r"^[^/]+/[^/]+/.+/\d{8,}$")],
        "subject": [pandera.Check.str_length(max_value=0) if unknown else pandera.Check.str_length(min_value=1)],
        "split": [pandera.Check.isin(("", *SPLITS))],
        "expression": [pandera.Check.isin(EXPRESSIONS)],
        "framing": [pandera.Check.isin(FRAMINGS)],
        "role": [pandera.Check.isin(ROLES)],
        "frame": [pandera.Check.ge(0)], "fold": [pandera.Check.eq(-1) if unknown else pandera.Check.ge(0)], "row": [pandera.Check.ge(0)],
        "position": [pandera.Check.ge(-1)],
        "shard": [pandera.Check.str_matches(rf"^{_SHARD.pattern}$")],
        "source_sha256": [pandera.Check.str_matches(r"^[0-9a-f]{64}$")],
        "face_sha256": [pandera.Check.str_matches(r"^[0-9a-f]{64}$")],
        "weights_sha256": [pandera.Check.str_matches(r"^([0-9a-f]{64})?$")],
        "residual_px": [pandera.Check.ge(0)],
        "invented": [in_range(0, 1)],
    }
    schema = pandera.DataFrameSchema(
        {name: pandera.Column(dtype, checks.get(name, []), unique=(name,) in _UNIQUE) for name, (dtype, _) in columns.items()},
        strict=True,
        ordered=True,
        unique=list(_UNIQUE[1]),
    )
    try:
        return schema.validate(frame)
    except (pandera.errors.SchemaError, TypeError) as error:              # TypeError: a column of lists cannot be compared
        raise ManifestError(f"{doing}: {' '.join(str(error).split())[:300]} in {where}") from error
