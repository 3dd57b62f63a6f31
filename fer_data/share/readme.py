"""The read-me of an export: the warning first, then how it is loaded with the library that it is for. Samples in, Markdown out."""

import json

from fer_data import __version__
from fer_data.share import words
from fer_data.share.samples import KEPT, Samples
from fer_data.store.manifest import COLUMNS
from fer_data.text import counted, escape, paragraphs

__all__ = ["readme"]

# format -> (what lies where, code that loads it: it is run as it stands, from within the folder)
_LOADING = {
    "imagefolder": (
        "A folder for each fold, in it one for each expression; `metadata.jsonl` has a line for each picture, by `file_name`. In some folds"
        " an expression may have no picture; its folder is there, so that classes have the same numbers in all folds"
        " (torchvision: `ImageFolder(\"fold_0\", allow_empty=True)`).",
        "from datasets import load_dataset\n\n"
        'faces = load_dataset("imagefolder", data_dir=".", split="train")     # all folds; columns image, expression, fold ...\n'
        'train = faces.filter(lambda face: face["fold"] != 0)\n'
        'test = faces.filter(lambda face: face["fold"] == 0)\n',
    ),
    "webdataset": (
        "Tar files for each fold. A sample is `<key>.png`, `<key>.cls` (the number of its class: the line of `classes.txt`, from 0) and"
        " `<key>.json` (all columns). Samples are in the order of the manifest, person by person: shuffle before training.",
        "from glob import glob\n\nimport webdataset as wds\n\n\n"
        "def faces(tars):\n"
        '    return wds.WebDataset(sorted(tars), shardshuffle=False).decode("l8").to_tuple("png", "cls", "json")\n\n\n'
        'train = faces(tar for tar in glob("fold_*.tar") if not tar.startswith("fold_0-")).shuffle(1000)\n'
        'test = faces(glob("fold_0-*.tar"))\n',
    ),
    "hf": (
        "Parquet files for the library datasets: a split for each fold, `image` decoded on access, `label` with the names of the classes.",
        "from pathlib import Path\n\nfrom datasets import concatenate_datasets, load_dataset\n\n"
        "folds = load_dataset(str(Path.cwd()))                                # where this read-me lies\n"
        'train = concatenate_datasets([folds[name] for name in folds if name != "fold_0"])\n'
        'test = folds["fold_0"]\n',
    ),
    "parquet": (
        "Plain Parquet files for each fold; `image` holds the bytes of a PNG. What may be done with it is in each file's own metadata"
        " too.",
        "import io\n\nimport pandas as pd\nfrom PIL import Image\n\n"
        'faces = pd.read_parquet("faces")\n'
        'train, test = faces[faces["fold"] != 0], faces[faces["fold"] == 0]\n'
        'picture = Image.open(io.BytesIO(test["image"].iloc[0]))\n',
    ),
}


def readme(samples: Samples, form: str) -> str:
    """Return the read-me of an export."""
    where, code = _LOADING[form]
    terms, rows = samples.terms, samples.rows
    what = "aligned faces" if samples.view is None else f"view {samples.view} of aligned faces"
    counts = f"{counted(len(samples), 'picture')} of {counted(rows['subject'].nunique(), 'person', 'people')}"
    references = counted(samples.n_references, "neutral reference")
    left = f" Not in here: {references}, neither trained nor tested on." if samples.n_references else ""
    about = (
        f"{counts}, {samples.size} x {samples.size} pixels, {'RGB' if samples.colour else 'grey'}: {what}, as PNG."
        f" Classes, numbered from 0: {', '.join(samples.classes)}.{left}"
    )
    peaks = rows.drop(columns="key")
    parts = [
        [f"# {escape(terms.name)}, as {form}"], words.warning(terms), [about],
        ["## Load it", "", where, "", "```python", *code.splitlines(), "```"],
        words.balance(peaks, len(samples.folds)),
        ["## Columns", "", *words.columns({name: COLUMNS[name] for name in KEPT})],
        words.limits(terms), words.rights(terms),
        [f"Made by fer-data {__version__} from the prepared folder whose manifest has the sha256 `{samples.manifest_sha256}`."],
    ]
    return (_front_matter(samples) if form == "hf" else "") + paragraphs(parts)


def _front_matter(samples: Samples) -> str:
    """Return what the library datasets reads at the top of README.md: YAML, values as JSON, which YAML holds."""
    filled = sorted(set(samples.rows["fold"]))
    splits = [line for fold in filled for line in (f"  - split: fold_{fold}", f'    path: "data/fold_{fold}-*.parquet"')]
    name, licence = (json.dumps(text, ensure_ascii=False) for text in (samples.terms.name, samples.terms.licence))
    said = [f"pretty_name: {name}", "license: other", f"license_name: {licence}", "task_categories: [image-classification]"]
    return "\n".join(["---", *said, "configs:", "- config_name: default", "  data_files:", *splits, "---", "", ""])
