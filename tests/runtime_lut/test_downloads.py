import functools
import hashlib
import http.server
import json
import os
import stat
import subprocess
import sys
import threading
import zipfile

import pytest

from caffe2_common.errors import ModelError
from runtime_lut import downloads


@pytest.fixture
def server(tmp_path):
    """A folder and the address under which its files are served."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def publish(server, monkeypatch):
    """Serves files as the official ones of the collection lut."""

    def serve(contents: dict[str, bytes]):
        folder, _ = server
        listed = {}
        for name, content in contents.items():
            path = folder / "runtime_lut/data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            listed[f"runtime_lut/data/{name}"] = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
            }
        monkeypatch.setattr(downloads, "official_files", lambda collection: listed)
        return listed

    return serve


def zip_bytes(tmp_path, members) -> bytes:
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path.read_bytes()


def test_files_are_fetched_checked_and_unpacked_once(server, publish, tmp_path):
    served, url = server
    publish({"t.json.zip": zip_bytes(tmp_path, [("t-op_lut_database.json", b"{}\n"), ("sub/x.json", b"x")])})
    target = tmp_path / "cache"
    paths = downloads.download("lut", target, url)
    folder = target / "runtime_lut/data"
    assert paths == [folder / "t.json.zip", folder / "t-op_lut_database.json", folder / "sub/x.json"]
    assert paths[1].read_bytes() == b"{}\n"
    (served / "runtime_lut/data/t.json.zip").unlink()
    assert downloads.download("lut", target, url) == paths  # nothing is fetched again
    paths[0].write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"t\.json\.zip: cannot be downloaded"):
        downloads.download("lut", target, url)


@pytest.mark.parametrize(
    "change",
    [lambda c: c[:-1], lambda c: c + b"more", lambda c: b"y" + c[1:]],
    ids=["short", "long", "other"],
)
def test_what_is_not_the_published_file_is_not_kept(server, publish, tmp_path, change):
    served, url = server
    publish({"model.pb": b"x" * 1000})
    (served / "runtime_lut/data/model.pb").write_bytes(change(b"x" * 1000))
    with pytest.raises(ModelError, match="not kept"):
        downloads.download("lut", tmp_path / "cache", url)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "C:evil", "..\\evil"])
def test_archives_cannot_write_outside_their_folder(tmp_path, name):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo(name), "evil")
    inside = tmp_path / "folder" / "inside"
    with pytest.raises(ModelError, match="outside its folder"):
        downloads.unpack(archive, inside)
    assert not list((tmp_path / "folder").rglob("*"))


def test_links_large_and_damaged_archives_are_refused(tmp_path, monkeypatch):
    archive = tmp_path / "link.zip"
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(link, "/etc")
    with pytest.raises(ModelError, match="outside its folder"):
        downloads.unpack(archive, tmp_path / "out")
    archive.write_bytes(zip_bytes(tmp_path, [("a", b" " * 5000)])[:-30])
    with pytest.raises(ModelError, match="damaged"):
        downloads.unpack(archive, tmp_path / "out")
    monkeypatch.setattr(downloads, "MAX_UNPACKED_BYTES", 4000)
    archive.write_bytes(zip_bytes(tmp_path, [("a", b" " * 5000)]))
    with pytest.raises(ModelError, match="unpacks to more than"):
        downloads.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_official_file_is_listed(shared):
    listed = json.loads((shared / "facts/published_files.json").read_text())
    ours = {path: facts for name in downloads.COLLECTIONS for path, facts in downloads.official_files(name).items()}
    assert ours == listed


def test_a_downloaded_table_and_net_are_found(root, cache, shared, server, make_record, monkeypatch):
    """What lies where download.py puts it is what get_runtime.py takes."""
    folder = cache / "runtime_lut/data"
    folder.mkdir(parents=True)
    record = make_record("NCHW2NHWC", (), ((1, 3, 224, 224),), (1,), 276.0, "SM-G950U-7.0-24")
    with zipfile.ZipFile(folder / "SM-G950U-7.0-24-op_lut_database.json.zip", "w") as archive:
        archive.writestr("SM-G950U-7.0-24-op_lut_database.json", json.dumps(record))
    command = [sys.executable, "get_runtime.py", "--model_path", "ChamNet-A/int8"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=dict(os.environ))
    assert "run_time: [276.0]" in done.stdout
    model = cache / "ChamNet/models/ChamNet-A/int8"
    model.mkdir(parents=True)
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 2  # the folder is looked into, and holds no net
    assert str(model) in done.stderr


def test_the_command_says_what_is_wrong(root, server, cache):
    _, url = server
    command = [sys.executable, "scripts/download.py", "lut", "--base-url", url]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("cannot be downloaded (File not found)")
    assert len(done.stderr.splitlines()) == 1
