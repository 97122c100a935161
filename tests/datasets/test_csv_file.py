"""CSV files as users have them."""

import gzip
import io
import zipfile

import numpy as np
import pytest
import scipy.io.wavfile
import torch

from graphattn.datasets import from_csv
from graphattn.datasets.csv_file import read_rows


def write(folder, text, name="data.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def test_texts_and_classes(tmp_path):
    path = write(tmp_path, 'text,label\n"a, quoted one",z\na two,a\n   ,a\nno label,\n')
    data, classes, failures = from_csv(path, text="text", label="label")
    assert classes == ["a", "z"] and [each.tokens for each in data] == [["a,", "quoted", "one"], ["a", "two"]]
    assert [each.y.tolist() for each in data] == [[1], [0]]
    assert data[0].x[0] != data[1].x[0] and data[1].x[0] == data[1].x.min()  # one vocabulary for the file
    assert [str(each) for each in failures] == ["row 3: the text is empty", "row 4: 'label' is empty"]


def test_molecules_and_numbers(tmp_path):
    pytest.importorskip("rdkit")
    path = write(tmp_path, "smiles;logS\nCCO;-0.77\nC(C;1\nCC;nan\nCCC;many\nC;\nCO;1e400\n")
    data, classes, failures = from_csv(path, smiles="smiles", target="logS")
    assert classes is None and len(data) == 1 and data[0].y.dtype == torch.float32
    assert data[0].y.item() == pytest.approx(-0.77) and data[0].num_nodes == 3
    reasons = [str(each) for each in failures]
    assert [reason.split(":")[0] for reason in reasons] == [f"row {row}" for row in (2, 3, 4, 5, 6)]
    assert "'logS' is not finite (got 'nan')" in reasons[1] and "'logS' is no number (got 'many')" in reasons[2]


def test_sounds_lie_beside_the_file(tmp_path):
    (tmp_path / "sounds").mkdir()
    for name, rate in (("a", 8000), ("b", 8000), ("c", 16000)):
        scipy.io.wavfile.write(tmp_path / "sounds" / f"{name}.wav", rate, np.zeros(2000, dtype=np.int16))
    path = write(tmp_path, "file\twho\n" + "".join(f"sounds/{name}.wav\tme\n" for name in "abcd"), "data.tsv")
    data, classes, failures = from_csv(path, wav="file", label="who", num_mels=8)
    assert [each.x.size(1) for each in data] == [8, 8] and classes == ["me"]
    assert "16000 samples per second" in failures[0].reason and "d.wav" in failures[1].reason


def test_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((20, 30), 255, np.uint8)).save(tmp_path / "grey.png")
    image.fromarray(np.zeros((9, 9, 4), np.uint8)).save(tmp_path / "clear.png")
    (tmp_path / "no.png").write_text("no image")
    path = write(tmp_path, "file,size\ngrey.png,1\nclear.png,2\nno.png,3\n")
    data, _, failures = from_csv(path, image="file", target="size", side=16, patch=4)
    assert [list(each.x.shape) for each in data] == [[16, 48], [16, 48]] and data[0].sides == (4, 4)
    assert data[0].x.eq(1).all() and data[1].x.eq(0).all()
    assert [failure.where for failure in failures] == ["row 3"] and "no image that Pillow reads" in failures[0].reason


def test_cells_of_several_lines(tmp_path):
    path = write(tmp_path, 'text,label\r\n"two\r\nlines\u2028and",a\r\none,b\r\n')
    assert [row["text"] for row in read_rows(path)] == ["two\r\nlines\u2028and", "one"]


def test_without_a_target_rows_are_read_all_the_same(tmp_path):
    data, classes, _ = from_csv(write(tmp_path, "text\na b\nc d\n"), text="text")
    assert classes is None and "y" not in data[0]


def test_columns_and_files(tmp_path):
    path = write(tmp_path, "\ufefftext,label\na,b\n")  # as spreadsheets write it
    assert read_rows(path) == [{"text": "a", "label": "b"}]
    with pytest.raises(ValueError, match=r"has no column 'words'; its first line names \['text', 'label'\]"):
        from_csv(path, text="words")
    for inputs in ({}, {"text": "text", "smiles": "text"}):
        with pytest.raises(ValueError, match="must name the column of the input"):
            from_csv(path, **inputs)
    with pytest.raises(ValueError, match="'label' for classes or 'target' for numbers"):
        from_csv(path, text="text", label="label", target="label")
    with pytest.raises(ValueError, match="has no rows"):
        from_csv(write(tmp_path, "text\n"), text="text")
    with pytest.raises(ValueError, match="is not UTF-8"):
        from_csv(write(tmp_path, "text\né\n", encoding="latin-1"), text="text")
    with pytest.raises(ValueError, match=r"nothing in .* could be read \(got 1 failures: row 1: 'n' is no number"):
        from_csv(write(tmp_path, "text,n\na,b\n"), text="text", target="n")
    with pytest.raises(FileNotFoundError):
        from_csv(tmp_path / "none.csv", text="text")


def test_files_of_other_programs(tmp_path):
    text = "text ; label\r\na b;z\r\n"
    expected = [{"text": "a b", "label": "z"}]
    assert read_rows(write(tmp_path, text, encoding="utf-16")) == expected  # with a mark in front
    (tmp_path / "data.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert read_rows(tmp_path / "data.csv.gz") == expected
    assert read_rows(write(tmp_path, '"a, b, c";label\n1;2\n')) == [{"a, b, c": "1", "label": "2"}]
    assert read_rows(write(tmp_path, text.replace("\r\n", "\r"))) == expected
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("data.csv", text)
    (tmp_path / "data.zip").write_bytes(packed.getvalue())
    with pytest.raises(ValueError, match="is a zip archive or a spreadsheet"):
        read_rows(tmp_path / "data.zip")
    (tmp_path / "data.csv.gz").write_bytes(gzip.compress(text.encode())[:-9])
    with pytest.raises(ValueError, match="is a damaged file of gzip"):
        read_rows(tmp_path / "data.csv.gz")


def test_first_lines_that_name_no_columns(tmp_path):
    with pytest.raises(ValueError, match="is empty"):
        read_rows(write(tmp_path, ""))
    with pytest.raises(ValueError, match=r"several columns of one name \(got \['text'\]"):
        read_rows(write(tmp_path, "text,text\na,b\n"))


def test_a_text_that_holds_the_delimiter_shifts_no_label(tmp_path):
    path = write(tmp_path, "text,label\ngood, really,yes\nbad,no,\nbad,no\n")  # a last delimiter is harmless
    data, classes, failures = from_csv(path, text="text", label="label")
    assert classes == ["no"] and len(data) == 2
    assert [failure.where for failure in failures] == ["row 1"]
    assert "more cells than the 2 columns that the first line names (got ['yes'] beyond them)" in failures[0].reason


def test_labels_that_are_missing_or_spelled_in_two_ways(tmp_path):
    cells = ("1", "0", "1.0", "nan", "NULL", "1.00")
    path = write(tmp_path, "text,label\n" + "".join(f"a,{cell}\n" for cell in cells))
    data, classes, failures = from_csv(path, text="text", label="label")
    assert classes == ["0", "1"] and [each.y.item() for each in data] == [1, 0, 1, 1]
    assert [str(failure) for failure in failures] == [
        "row 4: 'label' is missing (got 'nan')", "row 5: 'label' is missing (got 'NULL')"
    ]  # fmt: skip
    codes = from_csv(write(tmp_path, "text,label\na,01\na,1\n"), text="text", label="label")
    assert codes[1] == ["01", "1"]


def test_numbers_with_a_comma_and_none(tmp_path):
    path = write(tmp_path, "text;n\na;1,5\na;\na;2.5\n")
    _, _, failures = from_csv(path, text="text", target="n")
    assert [failure.reason for failure in failures] == [
        "'n' is no number (got '1,5'); write numbers with a point, 1.5", "'n' is empty"
    ]  # fmt: skip
