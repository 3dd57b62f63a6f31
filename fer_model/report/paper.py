"""The paper's tables 1 to 3 as literal data, so that a row of ours can be shown with every row of theirs.

In:  nothing.
Out: TABLES, by the name that the manifest gives a database; `table_of` finds the one that a run is compared with. ROWS_HERE, rows that
     are methods here.

Paper: K. Ali and C. E. Hughes, "Facial expression representation learning by synthesizing expression images",
arXiv 1912.01456, section 4.2. Numbers, names and settings stand as printed; a reference is the paper's own number.
"""

from dataclasses import dataclass

from fer_data.labels import BASIC

__all__ = ["MEASURE", "ROWS_HERE", "TABLES", "PaperRow", "PaperTable", "table_of"]

# What the printed numbers count is not said; the arithmetic below is checked by a test.
MEASURE = "10-fold average accuracy: the paper does not say whether of frames, crops or sequences, nor which epoch or test crop"


@dataclass(frozen=True)
class PaperRow:
    """One printed row."""

    method: str
    setting: str                      # Dynamic: from sequences; Static: from single images
    accuracy: float                   # %
    reference: int | None = None      # in the paper's list; None: its own


@dataclass(frozen=True)
class PaperTable:
    """One printed table, with what section 4.2 says of its database."""

    number: int
    dataset: str                      # as the manifest names it
    name: str                         # as the paper prints it
    caption: str
    subjects: int
    sequences: int
    images: int                       # faces: three frames of each sequence
    frames: str                       # which three
    frame_rule: str                   # the same, of fer_data.protocol.peaks
    expressions: tuple[str, ...]
    folds: int
    rows: tuple[PaperRow, ...]
    note: str                         # what its arithmetic says about the unit
    part: str = ""                    # of Oulu-CASIA, as oulu_casia.part_of names it


_CK_PLUS = PaperTable(
    1, "ck+", "CK+", "10-fold Average Accuracy for seven expressions classification",
    subjects=118, sequences=327, images=981, frames="the last three frames of each sequence", folds=10,
    frame_rule="last-three", expressions=("contempt", *BASIC),
    rows=(
        PaperRow("HOG 3D", "Dynamic", 91.44, 8),
        PaperRow("3DCNN", "Dynamic", 85.90, 14),
        PaperRow("STM-Explet", "Dynamic", 94.19, 25),
        PaperRow("IACNN", "Static", 95.37, 17),
        PaperRow("DTAGN", "Static", 97.25, 26),
        PaperRow("DeRL", "Static", 97.30, 4),
        PaperRow("CNN(baseline)", "Static", 90.34),
        PaperRow("DE-GAN(Ours)", "Static", 97.36),
    ),
    note="97.36 is neither a number of 981 frames nor of 327 sequences that are right, so it is a mean over folds of unequal size or"
    " counts crops; DTAGN's 97.25 is 318 of 327 sequences.",
)
_MMI = PaperTable(
    2, "mmi", "MMI", "10-fold Average Accuracy for six expressions classification",
    subjects=31, sequences=208, images=624, frames="the three middle frames of each sequence", folds=10,
    frame_rule="middle-three", expressions=BASIC,
    rows=(
        PaperRow("HOG 3D", "Dynamic", 60.89, 8),
        PaperRow("STM-Explet", "Dynamic", 75.12, 25),
        PaperRow("IACNN", "Static", 71.55, 17),
        PaperRow("DTAGN", "Static", 70.24, 26),
        PaperRow("DeRL", "Static", 73.23, 4),
        PaperRow("CNN(baseline)", "Static", 58.46),
        PaperRow("DE-GAN(Ours)", "Static", 72.98),
    ),
    note="72.98 is neither a number of 624 frames nor of 208 sequences that are right, so it is a mean over folds of unequal size or"
    " counts crops.",
)
_OULU = PaperTable(
    3, "oulu", "Oulu-CASIA", "10-fold Average Accuracy for six expressions classification",
    subjects=80, sequences=480, images=1440, frames="the last three frames of each sequence; visible light, strong illumination", folds=10,
    frame_rule="last-three", expressions=BASIC, part="VL/Strong (original)",
    rows=(
        PaperRow("HOG 3D", "Dynamic", 70.63, 8),
        PaperRow("STM-Explet", "Dynamic", 74.59, 25),
        PaperRow("Atlases", "Dynamic", 75.52, 25),
        PaperRow("PPDN", "Static", 84.59, 27),
        PaperRow("DTAGN", "Static", 81.46, 26),
        PaperRow("DeRL", "Static", 88.0, 4),
        PaperRow("CNN(baseline)", "Static", 73.14),
        PaperRow("DE-GAN(Ours)", "Static", 89.24),
    ),
    note="89.24 would be 1285 of 1440 frames, but the baseline's 73.14 is no number of 1440, so the unit stays open; DTAGN's 81.46 is"
    " 391 of 480 sequences.",
)

TABLES = {table.dataset: table for table in (_CK_PLUS, _MMI, _OULU)}

# Methods here that are rows of the tables -> the row, and what in their own protocol differs from ours, as far as it could be read.
ROWS_HERE = {
    "degan": ("DE-GAN(Ours)", "the paper pre-trains it on 60,600 faces of BU-4DFE, section 4.1"),
    "cnn": ("CNN(baseline)", "the paper says nothing of its layers, its budget and its pre-training"),
    "derl": ("DeRL", "its paper pre-trains on BU-4DFE and BP4D-Spontaneous; its unit, epoch and layers are not known here"),
    "iacnn": ("IACNN", "its paper's layers, pre-training, unit and epoch are not known here; ours are the baseline's layers"),
}


def table_of(dataset: str) -> PaperTable | None:
    """Return the table of a database as the manifest names it; None where the paper has none.

    The cropped copy of CK+ is compared with CK+; several databases joined with none.

    >>> table_of("ck48").number, table_of("ck+").rows[-1].accuracy, table_of("ck++mmi")
    (1, 97.36, None)
    """
    return TABLES.get("ck+" if dataset == "ck48" else dataset)
