"""Describe a prepared folder in Croissant 1.1, the JSON-LD format that data-set catalogues read.

In:  a prepared folder's manifest, settings, terms; the sizes of its files.
Out: a dict, to be written as croissant.json next to manifest.parquet: file names in it are relative to it.

    distribution   manifest.parquet, skipped.csv, settings.json, each shard, with sha256; the manifest's hash is the one that all else names
    recordSet      faces: a record for each row of the manifest; expressions, folds: what its columns refer to

Croissant has no reader for HDF5: where a face lies is a record (shard, row), its pixels are not.
https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from pathlib import Path

import pandas as pd

from fer_data.faces.align import CANVAS
from fer_data.files import sha256_of_file
from fer_data.labels import classes_of
from fer_data.report.content import facts_of, provenance
from fer_data.share.terms import Terms
from fer_data.share.words import use_of
from fer_data.store.manifest import COLUMNS
from fer_data.store.shards import size_of

__all__ = ["describe"]

# The context of the specification, with RAI: readers compare.
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "arrayShape": "cr:arrayShape", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "containedIn": "cr:containedIn", "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/", "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty", "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract",
    "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isArray": "cr:isArray", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "name": {"@container": "@language"}, "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "samplingRate": "cr:samplingRate", "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField", "transform": "cr:transform",
}
_TYPES = {"str": "sc:Text", "int64": "cr:Int64", "float64": "cr:Float64", "bool": "sc:Boolean"}
_REFERENCES = {"expression": "expressions/name", "fold": "folds/fold"}


def describe(out: Path, frame: pd.DataFrame, settings: dict, terms: Terms) -> dict:
    """Return the description of a prepared folder."""
    facts = facts_of(settings["dataset"])
    judged = frame[frame["role"] == "peak"]
    counts = f"{len(frame):,} aligned faces of {frame['subject'].nunique():,} people, {settings['config']['folds']} subject-disjoint folds"
    published = {} if terms.drawn or facts is None else {"datePublished": f"{facts.published}-01-01"}
    limits = [f"{title}. {text}" for title, text in terms.limits]
    return {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": terms.name, "description": f"{counts}. {terms.warning}", "license": terms.licence, "citeAs": "\n".join(terms.citations),
        "version": f"{settings['schema_version']}.0.0+{settings['manifest_sha256'][:12]}", **published, "inLanguage": "zxx",
        "keywords": ["facial expression", *classes_of(judged["expression"])], "isLiveDataset": False,
        "distribution": _distribution(Path(out), settings),
        "recordSet": [_enumeration(frame), _folds(frame, settings), _faces()],
        "rai:dataCollection": f"Frames by rule {settings['frame_rule']}; every frame found is used, or left out with its reason.",
        "rai:dataCollectionMissingData": _missing(settings),
        "rai:dataPreprocessingProtocol": [f"{what}: {value}" for what, value in provenance(settings, frame)],
        "rai:dataAnnotationProtocol": "Expressions are the database's own labels under one set of names; nothing was labelled again.",
        "rai:machineAnnotationTools": [f"{settings['backend']['name']} {settings['backend']['version']}".strip()],
        "rai:personalSensitiveInformation": [terms.warning],
        "rai:dataLimitations": limits,
        "rai:dataBiases": limits[:1] if terms.drawn else limits[-1:],
        "rai:dataUseCases": [use_of(terms)],
        "rai:dataReleaseMaintenancePlan": "Drawn again from a seed." if terms.drawn else "Made from the database; not released.",
    }


def _distribution(out: Path, settings: dict) -> list[dict]:
    shape = f"({', '.join(['N', str(CANVAS), str(CANVAS), *(['3'] if settings['config']['colour'] == 'rgb' else [])])})"
    views = ", and the 110 views of each" if settings["config"]["views"] == "stored" else ""
    files = {
        "manifest.parquet": (settings["manifest_sha256"], "application/x-parquet", "One row for each selected frame, folds included."),
        "skipped.csv": (settings["csv_sha256"]["skipped.csv"], "text/csv", "What was found and is not used, each with its reason."),
        "settings.json": (sha256_of_file(out / "settings.json"), "application/json", "How all was made; the hash of every other file."),
        **{
            f"shards/{name}": (sha256, "application/x-hdf5", f"Faces {shape} uint8, their landmarks and matrices{views}.")
            for name, sha256 in sorted(settings["shards"].items())
        },
    }
    sizes = {name: (out / name).stat().st_size for name in files if not name.startswith("shards/")}
    sizes |= {f"shards/{name}": size_of(out / "shards", name, sha256) for name, sha256 in settings["shards"].items()}
    return [
        {
            "@type": "cr:FileObject", "@id": name, "name": Path(name).name, "description": text, "contentUrl": name,
            "contentSize": f"{sizes[name]} B", "encodingFormat": kind, "sha256": sha256,
        }
        for name, (sha256, kind, text) in files.items()
    ]


def _enumeration(frame: pd.DataFrame) -> dict:
    names = classes_of(frame["expression"])
    return {
        "@type": "cr:RecordSet", "@id": "expressions", "name": "expressions", "description": "In the order of class numbers.",
        "dataType": "sc:Enumeration", "key": {"@id": "expressions/name"},
        "field": [_field("expressions/name", "sc:Text", "The name.")],
        "data": [{"expressions/name": name} for name in names],
    }


def _folds(frame: pd.DataFrame, settings: dict) -> dict:
    config, counts = settings["config"], frame["fold"].value_counts()
    people = frame.groupby("fold")["subject"].nunique()
    fields = [("fold", "A fold."), ("people", "People in it."), ("faces", "Faces in it.")]
    return {
        "@type": "cr:RecordSet", "@id": "folds", "name": "folds", "key": {"@id": "folds/fold"},
        "description": f"Folds by subject, rule {config['fold_rule']}: each in turn is tested on, the others are trained on.",
        "field": [_field(f"folds/{name}", "cr:Int64", text) for name, text in fields],
        "data": [
            {"folds/fold": fold, "folds/people": int(people.get(fold, 0)), "folds/faces": int(counts.get(fold, 0))}
            for fold in range(config["folds"])
        ],
    }


def _faces() -> dict:
    fields = []
    for name, (kind, meaning) in COLUMNS.items():
        field = _field(f"faces/{name}", _TYPES[kind], meaning)
        field["source"] = {"fileObject": {"@id": "manifest.parquet"}, "extract": {"column": name}}
        if name in _REFERENCES:
            field["references"] = {"field": {"@id": _REFERENCES[name]}}
        fields.append(field)
    text = "A record for each face: whose, which expression, which fold, where its pixels lie, how it was aligned."
    key = {"@id": "faces/image_id"}
    return {"@type": "cr:RecordSet", "@id": "faces", "name": "faces", "key": key, "description": text, "field": fields}


def _field(name: str, kind: str, text: str) -> dict:
    return {"@type": "cr:Field", "@id": name, "name": name.split("/")[1], "description": text, "dataType": kind}


def _missing(settings: dict) -> str:
    left = ", ".join(f"{reason} {count:,}" for reason, count in settings["skipped"].items()) or "none"
    return f"{settings['found']:,} frames found, {settings['kept']:,} used; left out, by reason: {left}. skipped.csv names each."
