"""The version of the generator.

It was calibrated (benchmarks/synthetic_calibration.py) and frozen: a change of a drawn byte is a new version, with a new
calibration and a new hash in tests/test_synthetic_frozen.py. It is never changed to please a model.
Which people a layout draws from a seed is no part of it (ck_plus.person_of): CK+ and the full table are what they were.
"""

__all__ = ["VERSION"]

VERSION = "1"
