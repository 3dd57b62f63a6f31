"""Every database that can be prepared, by name: each a function scan(root, **options) -> Scan, in a file of its own."""

from fer_data.datasets import bu4dfe, ck48, ck_plus, folder, mmi, oulu_casia

__all__ = ["ADAPTERS"]

ADAPTERS = {
    "ck+": ck_plus.scan,
    "ck48": ck48.scan,
    "mmi": mmi.scan,
    "oulu": oulu_casia.scan,
    "bu4dfe": bu4dfe.scan,
    "folder": folder.scan,
}
