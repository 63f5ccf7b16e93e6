"""The tests mirror the package: `tests/a/test_b.py` is about `hvae_mnn/a/b.py`."""

from tests.typechecker import check as check
