import pytest

from tests.sanitized import indices, maps


@pytest.mark.parametrize("seed", range(40))
def test_cases_of_indices_pass_without_a_sanitizer_too(seed):
    indices(seed)


@pytest.mark.parametrize("seed", range(40))
def test_cases_of_linear_maps_too(seed):
    maps(seed)
