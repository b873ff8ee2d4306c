"""A local server that answers as the Hugging Face hub, ModelScope and GitHub do."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from spkver import download
from spkver.interop.hub import modelscope

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Repositories of files by name. Large files are redirected to another host (localhost), as those of the hub."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.files: dict[str, bytes] = {}  # path: content, for plain URLs
        self.moved: dict[str, str] = {}  # old name: new name
        self.gated: set[str] = set()
        self.damaged: set[str] = set()  # names of files whose content is not the published one
        self.short: set[str] = set()  # names of files of which half is sent, once
        self.asked: list[str] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def content(self, repository, name):
        content = self.repositories[repository][name]
        if name in self.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        return content


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = urlsplit(self.path)
        self.server.asked.append(f"{self.command} {parts.path}")
        words = parts.path.strip("/").split("/")
        if parts.path in self.server.files:
            self.send(self.server.files[parts.path])
        elif words[:3] == ["api", "v1", "models"]:
            self.modelscope("/".join(words[3:5]), words[5:], parse_qs(parts.query))
        elif words[:2] == ["api", "models"]:
            self.information("/".join(words[2:4]), words[4:])
        elif words[0] == "cdn":
            repository, name = "/".join(words[1:3]), words[3]
            content = self.server.content(repository, name)
            short = name in self.server.short and self.command == "GET"
            self.server.short.discard(name if short else "")
            self.send(content, short=short)
        elif len(words) > 4 and words[2] == "resolve":
            self.resolve("/".join(words[:2]), words[3], words[4])
        else:
            self.send_error(404)

    def information(self, repository, rest):
        if repository in self.server.moved:
            return self.redirect(f"/api/models/{self.server.moved[repository]}/{'/'.join(rest)}", 307)
        if repository not in self.server.repositories:
            return self.refuse(401, "RepoNotFound")
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", COMMIT, "v1"):
            return self.refuse(404, "RevisionNotFound")
        files = self.server.repositories[repository]
        if rest[:1] == ["tree"]:
            found = [entry(name, content) for name, content in files.items()]
        else:
            gated = "auto" if repository in self.server.gated else False
            siblings = [{"rfilename": name} for name in files]
            found = {"id": repository, "sha": COMMIT, "private": False, "gated": gated, "siblings": siblings}
        return self.send(json.dumps(found).encode(), {"Content-Type": "application/json"})

    def resolve(self, repository, revision, name):
        if repository in self.server.moved:
            return self.redirect(f"/{self.server.moved[repository]}/resolve/{revision}/{name}", 307)
        if repository in self.server.gated:
            return self.refuse(403, "GatedRepo")
        published = self.server.repositories[repository].get(name)
        if published is None:
            return self.refuse(404, "EntryNotFound")
        about = {"X-Repo-Commit": COMMIT}
        if not large(name):
            content = self.server.content(repository, name)
            return self.send(content, about | {"ETag": f'"{git_hash(published)}"'})
        about |= {"X-Linked-Size": str(len(published)), "X-Linked-ETag": f'"{hashlib.sha256(published).hexdigest()}"'}
        return self.redirect(f"{self.server.url.replace('127.0.0.1', 'localhost')}/cdn/{repository}/{name}", 302, about)

    def modelscope(self, repository, rest, query):
        files = self.server.repositories.get(repository)
        if files is None:
            return self.send(json.dumps({"Code": 10010205001, "Message": "model not found"}).encode(), code=404)
        if rest == ["repo", "files"]:
            listed = [
                {"Path": name, "Type": "blob", "Size": len(content), "Sha256": hashlib.sha256(content).hexdigest()}
                for name, content in files.items()
            ]
            listed.append({"Path": "examples", "Type": "tree", "Size": 0})
            return self.send(json.dumps({"Code": 200, "Data": {"Files": listed}}).encode())
        return self.send(self.server.content(repository, query["FilePath"][0]))

    def send(self, content, headers=None, *, code=200, short=False):
        start = 0
        if asked := self.headers.get("Range"):
            start, code = int(asked.removeprefix("bytes=").split("-")[0]), 206
        self.send_response(code)
        if code == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start : start + (len(content) - start) // 2] if short else content[start:])

    def redirect(self, where, code, headers=None):
        self.send_response(code)
        for name, value in ((headers or {}) | {"Location": where, "Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()

    def refuse(self, code, reason):
        self.send_response(code)
        self.send_header("X-Error-Code", reason)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def large(name):
    return name.endswith((".pt", ".ckpt", ".bin"))


def entry(name, content):
    """A file in a listing of the hub."""
    found = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
    if large(name):
        found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return found


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The server, with empty caches."""
    monkeypatch.setattr(download, "_PAUSE", 0.001)
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setattr(modelscope, "ENDPOINT", server.url)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)
        yield server
        server.shutdown()
        thread.join()
