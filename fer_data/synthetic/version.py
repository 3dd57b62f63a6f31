"""The version of the generator.

It was calibrated (benchmarks/synthetic_calibration.py) and frozen: a change of a drawn byte is a new version, with a new
calibration and a new hash in tests/test_synthetic_frozen.py. It is never changed to please a model.
"""

__all__ = ["VERSION"]

VERSION = "1"
