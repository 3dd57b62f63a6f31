"""The version of the generator: raise it with every change of a drawn byte, and the hash in tests/test_synthetic_frozen.py with it."""

__all__ = ["VERSION"]

VERSION = "0"
