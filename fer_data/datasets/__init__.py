"""Where sequences come from: one adapter a file, each a function scan(root, **options) -> Scan."""

from fer_data.datasets import ck_plus, folder

__all__ = ["ADAPTERS"]

ADAPTERS = {
    "ck+": ck_plus.scan,
    "folder": folder.scan,
}
