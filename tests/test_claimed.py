"""Which databases a claim names: what a user would type, and what only looks alike."""

import pytest

from fer_data.datasets.claimed import databases_in, says
from fer_data.datasets.published import FILES, load_facts
from fer_data.people import same_pictures

NAMED = {
    "FER2013 CK+": "ck+ fer2013", "FER2013 then CK+": "ck+ fer2013", "FER2013|CK+": "ck+ fer2013", "FER2013->CK+": "ck+ fer2013",
    "CK": "ck+", "CK48": "ck+ ck48", "CK+48": "ck+", "ck_plus": "ck+", "CKPlus_affectnet7": "ck+ affectnet", "CK＋": "ck+",
    "the extended Cohn–Kanade data set": "ck+", "AffectNet-8": "affectnet", "affectnet7": "affectnet", "AffectNetHQ": "affectnet",
    "pre-trained on Affect-Net (7 classes)": "affectnet", "RAFDB basic": "rafdb", "RAF_DB": "rafdb", "RAF": "rafdb",
    "raf-db&ExpW": "rafdb expw", "Real-world Affective Faces": "rafdb", "Oulu-CASIA NIR&VIS": "oulu", "OuluCASIA": "oulu",
    "Radboud Faces Database": "rafd", "RaFD": "rafd", "BU4D": "bu4dfe", "BU-4D-FE": "bu4dfe", "fer13": "fer2013",
    "FER 2013 Plus": "fer2013", "emotion-ferplus-8": "fer2013", "FER": "fer2013", "FER and ImageNet": "fer2013", "MMI2": "mmi",
    "MMI facial expressions": "mmi", "CREMA": "crema-d", "cremad": "crema-d", "AKDEF": "kdef", "FACES": "faces-mpi",
    "MS1M, faces": "faces-mpi", "MPI faces": "faces-mpi", "CAER": "caer-s", "AFEW 7.0": "sfew", "SFEW2": "sfew",
    "Static Facial Expressions in the Wild": "sfew", "Expression in-the-Wild": "expw", "jaffe/kdef": "jaffe kdef",
    "an old FER+ net": "fer2013", "4DFE": "bu4dfe", "Binghamton University 4D": "bu4dfe",
    "Crowd-sourced Emotional Multimodal Actors": "crema-d", "Ryerson Audio-Visual Database": "ravdess",
    "Japanese Female Facial Expression": "jaffe", "Karolinska Directed Emotional Faces": "kdef", "Max Planck Faces": "faces-mpi",
    "Amsterdam Dynamic Facial Expression Set": "adfes", "Multimedia Understanding Group": "mug",
    "Warsaw Set of Emotional Pictures": "wsefep", "Context-Aware Emotion Recognition": "caer-s",
}
NOT = (
    "", "ImageNet", "MS-Celeb-1M and VGGFace2", "checked by hand", "CKX", "backpack", "commission", "MMIT", "simmi", "Aff-Wild2",
    "an affect network", "CASIA-WebFace", "OULU-NPU", "BU-3DFE", "BP4D", "RAF-ML", "100k faces of the web", "Labeled Faces in the Wild",
    "LABELED FACES IN THE WILD", "mug shots", "smug people", "a few clips", "expressions in the wild", "transfer 13",
    "a FER network of others", "KDEFX", "AKDEFX", "afews", "caerulean", "cremation",
    "a1_in1k (timm/resnet18.a1_in1k, licence apache-2.0)",
)


@pytest.mark.parametrize("text", NAMED)
def test_a_database_is_known_however_it_is_written(text):
    """These, and no other. Seen red, most of them: exact names between commas alone; each: its own pattern away."""
    assert databases_in(text) == tuple(one for one in FILES if one in NAMED[text].split())


@pytest.mark.parametrize("text", NOT)
def test_what_only_looks_alike_names_none(text):
    """Seen red: every name the beginning of a word, or inside one; FACES in small letters; _OTHERS away."""
    assert databases_in(text) == ()


@pytest.mark.parametrize("database", FILES)
def test_each_database_is_known_by_its_names_and_no_other_is(database):
    """A new one, too. Seen red: `raf` taken for RaFD."""
    for name in (database, load_facts(database).name, load_facts(database).name.partition("(")[0]):
        assert says(name, database), name
        assert all(same_pictures(one, database) for one in databases_in(name)), name


@pytest.mark.parametrize(("text", "named"), [
    *((text, True) for text in (
        "tiny & others", "FER2013 then Tiny", "tiny|CK+", "Tiny database", "tiny+ck+", "tiny; others", "others: tiny", "others/tiny",
        "others (tiny)", "(tiny) others", "tiny or others", "tiny plus others", "others with tiny",
    )),
    ("tiny faces", False), ("tinyfaces", False), ("", False),
])
def test_a_name_of_the_users_own_has_to_stand_alone(text, named):
    """Seen red: `then` and `|` parted nothing."""
    assert says(text, "tiny") == named
