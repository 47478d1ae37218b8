"""The official files."""

from pathlib import Path

from caffe2_common.downloads import cache_dir
from runtime_lut import downloads
from runtime_lut.downloads import BASE_URL


def download(collection: str, folder: Path | None = None, base_url: str = BASE_URL) -> list[Path]:
    """Fetch a collection (lut, fbnet, chamnet), unless it is there, and unpack its archives; returns all files.

    folder: default the cache, where latencies are looked up. Raises ModelError for what cannot be had or is not
    the file of the published SHA-256.
    """
    return downloads.download(collection, folder or cache_dir(), base_url)
