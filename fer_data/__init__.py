"""From a facial-expression database on disk to faces and folds that can be trusted.

`read_manifest(out)` opens what `fer-data prepare` wrote, as a plain pandas DataFrame.
"""

__all__ = ["__version__", "read_manifest"]

__version__ = "0.1.0"


def read_manifest(out):
    """Return the manifest of a prepared folder as a pandas DataFrame, one row per selected frame.

    Raises ManifestError if there is none below `out`, or if it breaks its schema (store/manifest.py).
    """
    from fer_data.store.manifest import read_manifest as read  # pandas is slow to import

    return read(out)
