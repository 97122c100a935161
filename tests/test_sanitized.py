import pytest

from tests.sanitized import indices, mapped, maps, messages, norms


@pytest.mark.parametrize("task", [indices, maps, norms, mapped, messages])
@pytest.mark.parametrize("seed", range(40))
def test_cases_pass_without_a_sanitizer_too(task, seed):
    task(seed)
