import graphattn


def test_version_is_that_of_the_package():
    assert graphattn.__version__.count(".") == 2
