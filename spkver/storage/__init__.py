"""Data by URL: `s3://`, `gs://`, `http(s)://`. A `Url` stands where a path does; other modules do not know schemes.

Reading a URL as a file gives its copy in a local cache. fsspec is imported when the first URL is read.
"""

from spkver.storage.url import StrPath, Url, located

__all__ = ["StrPath", "Url", "located"]
