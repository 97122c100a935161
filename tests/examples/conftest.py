import pytest


@pytest.fixture(autouse=True)
def small_files(any_sum):
    """Examples are tested on data sets of a few lines."""
