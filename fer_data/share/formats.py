"""Formats that other libraries read: Samples in, files out, each as (name, bytes), in an order that depends on nothing else.

In:  Samples.
Out: an iterator of (path below the export, bytes); a path that ends in / is a folder that must be there although it is empty.

    imagefolder   fold_0/anger/<key>.png; metadata.jsonl has all columns for all pictures; in a CSV, subject 001 would be read as 1
    webdataset    fold_0-000000.tar: <key>.png, <key>.cls (number of the class), <key>.json (all columns); classes.txt
    hf            data/fold_0-00000.parquet: image, label, all columns; a split for each fold
    parquet       faces/fold_0-00000.parquet: all columns, and image (the bytes of a PNG)

Folds are kept apart everywhere, so that a person is never on both sides of a split that is made of whole folds.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from fer_data.share.samples import KEPT, Sample, Samples

__all__ = ["FORMATS", "Files", "MOST_IMAGES"]

MOST_IMAGES = 4096                    # in one tar or Parquet file, which is made in memory; about 60 MB
Files = Iterator[tuple[str, bytes]]
_ARROW = {"str": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
_HF = {"str": "string", "int64": "int64", "float64": "float64", "bool": "bool"}


def image_folder(samples: Samples) -> Files:
    """A folder for each fold, in it one for each class, empty ones too: class numbers must not differ between folds."""
    rows = []
    for fold in samples.folds:
        for name in samples.classes:
            yield f"fold_{fold}/{name}/", b""
        for sample in samples.of_fold(fold):
            path = f"fold_{fold}/{sample.values['expression']}/{sample.key}.png"
            rows.append(json.dumps({"file_name": path, **sample.values}, ensure_ascii=False, allow_nan=False))
            yield path, sample.png
    yield "metadata.jsonl", "".join(f"{row}\n" for row in rows).encode()


def webdataset(samples: Samples) -> Files:
    """Tar files for each fold, plain POSIX: a sample is the files of one key, one after the other."""
    yield "classes.txt", "".join(f"{name}\n" for name in samples.classes).encode()
    for fold in samples.folds:
        for number, some in enumerate(_parts(samples, fold)):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                for sample in some:
                    label = samples.classes.index(sample.values["expression"])
                    values = json.dumps(sample.values, ensure_ascii=False, allow_nan=False)
                    for ending, data in (("png", sample.png), ("cls", str(label).encode()), ("json", values.encode())):
                        member = tarfile.TarInfo(f"{sample.key}.{ending}")         # no owner, no time, mode 0644
                        member.size = len(data)
                        archive.addfile(member, io.BytesIO(data))
            yield f"fold_{fold}-{number:06d}.tar", buffer.getvalue()


def hugging_face(samples: Samples) -> Files:
    """Parquet files that say which column is a picture and what the classes are called; README.md names them as splits."""
    features = {
        "image": {"_type": "Image"}, "label": {"names": list(samples.classes), "_type": "ClassLabel"},
        **{name: {"dtype": _HF[kind], "_type": "Value"} for name, kind in KEPT.items()},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = _schema([("image", image), ("label", pa.int64())], samples, {"huggingface": {"info": {"features": features}}})
    for fold in samples.folds:
        for number, some in enumerate(_parts(samples, fold)):
            rows = [
                {
                    "image": {"bytes": sample.png, "path": f"{sample.key}.png"},
                    "label": samples.classes.index(sample.values["expression"]), **sample.values,
                }
                for sample in some
            ]
            yield f"data/fold_{fold}-{number:05d}.parquet", _parquet(rows, schema)


def parquet(samples: Samples) -> Files:
    """Plain Parquet: the manifest's columns, and the picture's bytes."""
    schema = _schema([("image", pa.binary())], samples, {})
    for fold in samples.folds:
        for number, some in enumerate(_parts(samples, fold)):
            yield f"faces/fold_{fold}-{number:05d}.parquet", _parquet([{"image": one.png, **one.values} for one in some], schema)


FORMATS: dict[str, Callable[[Samples], Files]] = {
    "imagefolder": image_folder, "webdataset": webdataset, "hf": hugging_face, "parquet": parquet,
}


def _parts(samples: Samples, fold: int) -> Iterator[list[Sample]]:
    """Yield the samples of a fold in pieces that fit into memory."""
    part: list[Sample] = []
    for sample in samples.of_fold(fold):
        part.append(sample)
        if len(part) == MOST_IMAGES:
            yield part
            part = []
    if part:
        yield part


def _schema(first: list, samples: Samples, more: dict) -> pa.Schema:
    """Return columns and what is said of the file in its own footer: what may be done with it, where it comes from."""
    terms = samples.terms
    said = {
        "warning": terms.warning, "licence": terms.licence, "citation": "\n".join(terms.citations),
        "manifest_sha256": samples.manifest_sha256, "classes": ",".join(samples.classes), **{key: json.dumps(v) for key, v in more.items()},
    }
    return pa.schema([*first, *((name, _ARROW[kind]) for name, kind in KEPT.items())], metadata=said)


def _parquet(rows: list[dict], schema: pa.Schema) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer, compression="zstd")
    return buffer.getvalue()
