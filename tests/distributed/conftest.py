import pytest

from tests.distributed.pool import Pool

POOLS = {}


@pytest.fixture(scope="session")
def pools():
    yield POOLS
    for pool in POOLS.values():
        pool.close()
    POOLS.clear()


@pytest.fixture(params=[1, 2, 4], ids=["P1", "P2", "P4"])
def pool(request, pools):
    """One, two and four processes, which all tests share."""
    if request.param not in pools:
        pools[request.param] = Pool(request.param)
    return pools[request.param]


@pytest.fixture
def two(pools):
    if 2 not in pools:
        pools[2] = Pool(2)
    return pools[2]
