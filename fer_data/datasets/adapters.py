"""Every database that can be prepared, by name: each a function scan(root, **options) -> Scan, in a file of its own, or
the one that reads by a form."""

from functools import partial

from fer_data.datasets import (
    affectnet,
    bu4dfe,
    caer_s,
    ck48,
    ck_plus,
    crema_d,
    described,
    expw,
    fer2013,
    folder,
    mmi,
    oulu_casia,
    rafdb,
    ravdess,
    sfew,
)
from fer_data.datasets.forms import FORMS

__all__ = ["ADAPTERS"]

ADAPTERS = {
    "ck+": ck_plus.scan,
    "ck48": ck48.scan,
    "mmi": mmi.scan,
    "oulu": oulu_casia.scan,
    "bu4dfe": bu4dfe.scan,
    "crema-d": crema_d.scan,
    "ravdess": ravdess.scan,
    **{name: partial(described.scan, name) for name in FORMS},
    "fer2013": fer2013.scan,
    "rafdb": rafdb.scan,
    "affectnet": affectnet.scan,
    "expw": expw.scan,
    "sfew": sfew.scan,
    "caer-s": caer_s.scan,
    "folder": folder.scan,
}
