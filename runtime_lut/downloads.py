"""The official files: the S8's table, the FBNet and ChamNet nets; downloaded, checked and unpacked into the
cache.

The files and their SHA-256 are listed in caffe2_models/published/files.json; nothing that does not match is
kept.
"""

import json
import stat
import zipfile
from pathlib import Path, PurePosixPath

from caffe2_common.downloads import fetch, is_intact
from caffe2_common.errors import ModelError
from caffe2_common.files import open_atomically
from caffe2_models import published

# The last commit of the repository that holds the files at these paths.
BASE_URL = "https://github.com/facebookresearch/mobile-vision/raw/4826a08ff4e93ffc53749c481f7d1cbeede474ee"

# What one may ask for -> how the files' paths begin.
COLLECTIONS = {"lut": "runtime_lut/", "fbnet": "FBNet/", "chamnet": "ChamNet/"}

CHUNK = 1 << 20
MAX_UNPACKED_BYTES = 1 << 30


def official_files(collection: str) -> dict[str, dict]:
    """path -> {"sha256", "size"} of a collection's files."""
    files = json.loads((published.FOLDER / "files.json").read_text(encoding="utf-8"))
    return {path: facts for path, facts in files.items() if path.startswith(COLLECTIONS[collection])}


def download(collection: str, folder: Path, base_url: str = BASE_URL) -> list[Path]:
    """Fetch what is missing of a collection into a folder and unpack its archives; returns all files.

    Raises ModelError for what cannot be had or is not the official file.
    """
    paths = []
    for path, facts in official_files(collection).items():
        target, digest = folder / path, f"sha256:{facts['sha256']}"
        if not is_intact(target, digest):
            fetch(f"{base_url.rstrip('/')}/{path}", target, digest, facts["size"])
        paths.append(target)
        if target.suffix == ".zip":
            paths += unpack(target, target.parent)
    return paths


def unpack(archive_path: Path, folder: Path) -> list[Path]:
    """Unpack a zip file into a folder, never outside it; what is there already at its full size stays.

    Raises ModelError for an archive that is damaged, too large, or names files elsewhere.
    """
    paths = []
    try:
        with zipfile.ZipFile(archive_path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
                raise ModelError(f"{archive_path}: unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")
            for member in members:
                target = folder / _safe_name(archive_path, member)
                if not (target.is_file() and target.stat().st_size == member.file_size):
                    _extract(archive, member, target)
                paths.append(target)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"{archive_path}: damaged archive ({error})") from None
    return paths


def _safe_name(archive_path: Path, member: zipfile.ZipInfo) -> PurePosixPath:
    name = PurePosixPath(member.filename)
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename or is_link:
        raise ModelError(f"{archive_path}: holds {member.filename!r}, which would lie outside its folder")
    return name


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Copy one member out, no more of it than its header declares."""
    left = member.file_size
    with archive.open(member) as source, open_atomically(target) as file:
        while block := source.read(min(CHUNK, left + 1)):
            left -= len(block)
            if left < 0:
                raise ModelError(f"{archive.filename}: {member.filename} is larger than it declares")
            file.write(block)
