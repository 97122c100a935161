import pytest

from tests.sanitized import indices


@pytest.mark.parametrize("seed", range(40))
def test_cases_of_indices_pass_without_a_sanitizer_too(seed):
    indices(seed)
