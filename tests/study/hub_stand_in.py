"""A stand-in for the Hugging Face hub on this machine: repositories of models, in memory.

It answers what ``huggingface_hub`` asks to make a repository and a branch, to commit files, to list
and to fetch them; all else is 404.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit


class Repository(NamedTuple):
    """Files by branch and by commit, and whether strangers see them."""

    url: str
    private: bool
    branches: dict[str, str]
    commits: dict[str, dict[str, bytes]]

    def files(self, revision):
        """The commit of a branch, or of itself, and its files; None for no such revision."""
        commit = self.branches.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


class Hub:
    """The server.

    Attributes:
        url: its address.
        repositories: by id.
        asked: (method, path, whether with a token) of every request.
    """

    def __init__(self):
        self.repositories, self.asked = {}, []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        """End."""
        self._server.shutdown()
        self._server.server_close()

    def add(self, name, *, private=False, files=None):
        """A repository with a first commit."""
        files = {".gitattributes": b"", **(files or {})}
        first = hashlib.sha1(name.encode()).hexdigest()
        self.repositories[name] = Repository(
            f"{self.url}/{name}", private, {"main": first}, {first: files}
        )

    def _handler(hub):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                self._answer("GET")

            def do_HEAD(self):
                self._answer("HEAD")

            def do_POST(self):
                self._answer("POST")

            def _answer(self, method):
                path = urlsplit(self.path).path
                hub.asked.append((method, path, "Authorization" in self.headers))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                for pattern, answer in ROUTES[method].items():
                    if found := re.fullmatch(pattern, path):
                        return answer(self, hub, *map(unquote, found.groups()), body)
                return self.reply({"error": "no such page"}, 404, code="EntryNotFound")

            def reply(self, content, status=200, *, code=None, **headers):
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                if code:
                    headers["X-Error-Code"] = code
                for name, value in {"Content-Length": len(data), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

        return Handler


def _create(handler, hub, body):
    asked = json.loads(body)
    name = f"{asked['organization']}/{asked['name']}"
    hub.add(name, private=asked.get("visibility") == "private" or asked.get("private") is True)
    handler.reply({"url": f"{hub.url}/{name}"})


def _with_files(answer):
    """Calls with a repository, the commit of a revision and its files, where there are such."""

    def found(handler, hub, name, revision, *rest):
        repository = hub.repositories.get(name)
        if repository is None:
            return handler.reply({"error": "no such repository"}, 404, code="RepoNotFound")
        known = repository.files(revision)
        if known is None:
            return handler.reply({"error": "no such revision"}, 404, code="RevisionNotFound")
        return answer(handler, repository, revision, *known, *rest)

    return found


@_with_files
def _info(handler, repository, revision, commit, files, _):
    siblings = [{"rfilename": name} for name in files]
    handler.reply({"id": "x", "sha": commit, "private": repository.private, "siblings": siblings})


@_with_files
def _tree(handler, repository, revision, commit, files, _):
    entries = [
        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        for name, data in files.items()
    ]
    handler.reply(entries)


@_with_files
def _branch_modes(handler, repository, revision, commit, files, body):
    asked = json.loads(body)["files"]
    modes = [
        {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in asked
    ]
    handler.reply({"files": modes})


@_with_files
def _commit(handler, repository, revision, commit, files, body):
    files = dict(files)
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "deletedFile":
            del files[value["path"]]
    made = hashlib.sha1(body).hexdigest()
    repository.commits[made] = files
    repository.branches[revision] = made
    handler.reply(
        {"success": True, "commitOid": made, "commitUrl": f"{repository.url}/commit/{made}"}
    )


@_with_files
def _file(handler, repository, revision, commit, files, name, _):
    if name not in files:
        return handler.reply({"error": "no such file"}, 404, code="EntryNotFound")
    etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
    return handler.reply(files[name], ETag=etag, **{"X-Repo-Commit": commit})


def _branch(handler, hub, name, branch, body):
    repository = hub.repositories[name]
    if branch in repository.branches:
        return handler.reply({"error": "there already"}, 409)
    repository.branches[branch] = repository.branches["main"]
    return handler.reply({})


_NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = {
    "GET": {
        rf"/api/models/{_NAME}/revision/([^/]+)": _info,
        rf"/api/models/{_NAME}": lambda handler, hub, name, body: _info(
            handler, hub, name, "main", body
        ),
        rf"/api/models/{_NAME}/tree/([^/]+)": _tree,
        rf"/{_NAME}/resolve/([^/]+)/(.+)": _file,
    },
    "HEAD": {rf"/{_NAME}/resolve/([^/]+)/(.+)": _file},
    "POST": {
        "/api/repos/create": _create,
        "/api/validate-yaml": lambda handler, hub, body: handler.reply({"warnings": []}),
        rf"/api/models/{_NAME}/branch/([^/]+)": _branch,
        rf"/api/models/{_NAME}/preupload/([^/]+)": _branch_modes,
        rf"/api/models/{_NAME}/commit/([^/]+)": _commit,
    },
}
