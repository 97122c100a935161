import errno
import io
import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from graphattn.datasets import download as module
from graphattn.datasets.download import download, download_archive, read_checked

CONTENT = bytes(range(256)) * 1000
SUM = sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def address():
    """Of a server that cuts, changes or has not what is asked for, as the name says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            body = {"/cut": CONTENT[:1000], "/changed": CONTENT[:-1] + b"x", "/empty": b""}.get(self.path, CONTENT)
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_file_arrives_whole_under_its_name(address, tmp_path):
    path = tmp_path / "new" / "folder" / "numbers.bin"
    download(f"{address}/good", path, SUM)
    assert path.read_bytes() == CONTENT and [entry.name for entry in path.parent.iterdir()] == ["numbers.bin"]


@pytest.mark.parametrize("name", ["cut", "changed", "empty"])
@pytest.mark.parametrize("was_there", [False, True])
def test_a_file_of_another_sum_leaves_nothing_behind(name, was_there, address, tmp_path):
    path = tmp_path / "numbers.bin"
    if was_there:
        path.write_bytes(b"mine")
    with pytest.raises(
        ValueError, match=rf"^'{address}/{name}' should have the sha256 {SUM} \(got \w{{64}}, of .*try again"
    ):
        download(f"{address}/{name}", path, SUM)
    assert list(tmp_path.iterdir()) == [path] * was_there
    assert not was_there or path.read_bytes() == b"mine"


@pytest.mark.parametrize("port", [None, 9])  # the server, which has no such file, and nobody
def test_an_address_that_does_not_answer_is_named(port, address, tmp_path):
    url = (f"http://127.0.0.1:{port}" if port else address) + "/missing"
    with pytest.raises(
        ConnectionError, match=rf"'{url}' cannot be downloaded .*put a copy to '.*x.bin'.*GRAPHATTN_DATA"
    ):
        download(url, tmp_path / "x.bin", SUM)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(errno.ENOSPC, "No space left on device")])
def test_what_happens_meanwhile_leaves_nothing_behind(error, tmp_path, monkeypatch):
    def download_url(url, folder):
        (tmp_path / os.path.basename(folder) / "half").write_bytes(CONTENT[:100])
        raise error

    monkeypatch.setattr(module, "download_url", download_url)
    with pytest.raises(error if isinstance(error, type) else OSError) as raised:
        download("http://x/half", tmp_path / "half", SUM)
    assert not list(tmp_path.iterdir())
    if isinstance(error, OSError):
        assert raised.value.errno == errno.ENOSPC and f"'{tmp_path}' cannot be written" in str(raised.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/data' cannot be written .* give another folder as 'root'"):
        download("http://x/y", tmp_path / "file" / "data" / "y", SUM)


def test_several_at_once(address, tmp_path):
    path = tmp_path / "numbers.bin"
    with ThreadPoolExecutor(8) as executor:
        for _ in executor.map(lambda _: download(f"{address}/good", path, SUM), range(16)):
            assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("change", [lambda x: x[:-1], lambda x: x + b"\n", lambda x: b"y" + x[1:], lambda x: b""])
def test_a_local_copy_is_checked(change, tmp_path):
    path = tmp_path / "numbers.bin"
    path.write_bytes(CONTENT)
    assert read_checked(path, SUM, "http://x") == CONTENT == read_checked(str(path), f"{'0' * 64} {SUM}", "http://x")
    path.write_bytes(change(CONTENT))
    found = sha256(change(CONTENT)).hexdigest()
    with pytest.raises(
        ValueError, match=rf"'{path}' should have the sha256 {SUM} \(got {found}, of .*from 'http://x' again"
    ):
        read_checked(path, SUM, "http://x")
    assert path.read_bytes() == change(CONTENT)  # it is the user's


def packed(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return content.getvalue()


FILES = {"top/a.txt": b"a" * 1000, "top/inner/b.txt": b"b", "top/unwanted.txt": b"c"}
SUMS = {name: sha256(FILES[f"top/{name}"]).hexdigest() for name in ("a.txt", "inner/b.txt")}


@pytest.mark.parametrize("digits, is_right", [(64, True), (32, True), (31, False), (0, False)])
def test_the_first_half_of_a_sum_will_do(digits, is_right, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    if is_right:
        assert read_checked(path, SUM[:digits], "http://x") == CONTENT
    else:
        with pytest.raises(ValueError, match="should have the sha256"):
            read_checked(path, SUM[:digits], "http://x")


def test_an_archive_gives_the_files_that_are_wanted(tmp_path, serve):
    asked = serve({"x.zip": packed(FILES)})
    download_archive("http://x/x.zip", tmp_path, SUMS)
    assert asked == ["http://x/x.zip"]
    found = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert found == {name: FILES[f"top/{name}"] for name in SUMS}


link = zipfile.ZipInfo("top/link")
link.external_attr = 0o120777 << 16


@pytest.mark.parametrize("name", ["../evil", "top/../../evil", "/evil", "top/../../../../../evil", link])
def test_an_archive_that_would_write_elsewhere_is_refused(name, tmp_path, serve):
    serve({"x.zip": packed({**FILES, name: b"evil"})})
    with pytest.raises(
        ValueError, match=r"'http://x/x.zip' should hold nothing but files inside of its own folder \(got"
    ):
        download_archive("http://x/x.zip", tmp_path / "root", SUMS)
    assert not list((tmp_path / "root").iterdir()) and not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kept", [0, 10, 100, -1])
def test_an_archive_that_is_cut_short(kept, tmp_path, serve):
    serve({"x.zip": packed(FILES)[:kept]})
    with pytest.raises(ValueError, match=r"'http://x/x.zip' does not unpack"):
        download_archive("http://x/x.zip", tmp_path, SUMS)
    assert not list(tmp_path.iterdir())


def test_an_archive_with_other_files(tmp_path, serve):
    serve({"x.zip": packed({**FILES, "top/a.txt": b"a"})})
    with pytest.raises(ValueError, match=r"'a.txt' of 'http://x/x.zip' should have the sha256"):
        download_archive("http://x/x.zip", tmp_path, SUMS)
    serve({"x.zip": packed({"top/a.txt": FILES["top/a.txt"]})})
    with pytest.raises(ValueError, match=r"should hold 'inner/b.txt' \(got 1 other files\)"):
        download_archive("http://x/x.zip", tmp_path, SUMS)
    assert not list(tmp_path.iterdir())
