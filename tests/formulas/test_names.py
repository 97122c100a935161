import pytest

from graphattn.formulas.names import check_name


class Ours:
    name = "ours"


class Theirs:
    name = "theirs"


def test_a_name_stands_for_one_class():
    check_name(Ours(), {"ours": Ours})
    check_name(Theirs(), {"ours": Ours})
    theirs = Theirs()
    theirs.name = "ours"
    with pytest.raises(ValueError, match=r"Theirs needs a 'name' of its own, other than \['ours'\].*got 'ours'"):
        check_name(theirs, {"ours": Ours})


@pytest.mark.parametrize("of", [object(), type("Numbered", (), {"name": 3})()])
def test_a_name_is_a_string(of):
    with pytest.raises(ValueError, match="needs a 'name' of its own"):
        check_name(of, {"ours": Ours})
