"""The two origins of the loopback Hub: what each of them answers when nothing goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote

from tests.support.loopback_hub.answers import (
    Answer,
    of_content,
    of_json,
    plain,
    refused,
)
from tests.support.loopback_hub.handler import Handler, token_of
from tests.support.loopback_hub.repos import Json, Repo

if TYPE_CHECKING:
    from tests.support.loopback_hub.hub import LoopbackHub

Query = Mapping[str, list[str]]


class HubHandler(Handler):
    """The Hub itself: the API, ``resolve``, and the small files that git keeps."""

    origin = "hub"
    hub: LoopbackHub

    def answer(self, address: SplitResult, query: Query) -> Answer:
        # Split first, unquote then: a revision may hold a slash, as in refs%2Fpr%2F1.
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        token = token_of(self.headers)
        if token is not None and token not in (self.hub.token, self.hub.other_token):
            return refused(401, "", "Invalid credentials in Authorization header")
        if parts == ["api", "whoami-v2"]:
            return self._whoami(token)
        if parts == ["api", "agent-harnesses"]:
            return of_json({"standardEnvVars": [], "harnesses": {}})
        if parts == ["api", "models"]:
            return self._search(query)
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            return self._with_repo(parts[2:4], lambda repo: self._api(repo, parts[4:], query))
        if parts[0] == "blob" and self.hub.is_one_origin:
            return of_storage(self, self.hub, address, query)
        if len(parts) >= 5 and parts[2] == "resolve":
            return self._with_repo(
                parts[:2], lambda repo: self._resolve(repo, parts[3], "/".join(parts[4:]))
            )
        return refused(404, "RepoNotFound", "Repository not found")

    def _whoami(self, token: str | None) -> Answer:
        if token is None:
            return refused(401, "", "Invalid username or password.")
        return of_json({"type": "user", "name": "someone", "auth": {}})

    def _search(self, query: Query) -> Answer:
        words = " ".join(query.get("search", [])).lower().split()
        authors, tags = query.get("author", []), query.get("filter", [])
        found = [
            info
            for repo in self.hub.repos.values()
            if not repo.private and "main" in repo.revisions
            for info in [repo.info(repo.revisions["main"], blobs=False)]
            if all(word in repo.name.lower() for word in words)
            and (not authors or info["author"] in authors)
            and all(tag in info["tags"] for tag in tags)
        ]
        if (key := query.get("sort", [""])[0]) in ("downloads", "likes"):
            found.sort(key=lambda info: info[key], reverse=True)
        limit = int(query.get("limit", ["1000"])[0])
        return of_json([{k: v for k, v in i.items() if k != "siblings"} for i in found[:limit]])

    def _with_repo(self, names: list[str], then: Callable[[Repo], Answer]) -> Answer:
        name = "/".join(names)
        if (moved := self.hub.moved.get(name)) is not None:
            to = self.path.replace(name, moved, 1)
            return plain(307, headers={"Location": to})
        repo, token = self.hub.repos.get(name), token_of(self.headers)
        if repo is None or (repo.private and token != self.hub.token):
            return refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo.disabled:
            return refused(403, "", "Access to this resource is disabled.")
        return then(repo)

    def _api(self, repo: Repo, rest: list[str], query: Query) -> Answer:
        what, revision = (rest[0], rest[1]) if len(rest) > 1 else ("", "main")
        commit = repo.find(revision)
        if commit is None:
            return refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if what in ("", "revision"):
            info = repo.info(commit, blobs=query.get("blobs") == ["true"])
            if fields := query.get("expand"):
                info = {name: info[name] for name in ("_id", "id", *fields) if name in info}
            return of_json(info)
        if what == "paths-info":
            wanted, files = self.form.get("paths", []), repo.commits[commit]
            return of_json(
                [files[path].entry(path, xet=repo.xet) for path in wanted if path in files]
            )
        if what == "tree":
            return self._tree(repo, commit, "/".join(rest[2:]), query)
        return refused(404, "", "Not found")

    def _tree(self, repo: Repo, commit: str, folder: str, query: Query) -> Answer:
        recursive = query.get("recursive", [""])[0].lower() in ("true", "1")
        entries: list[Json] = repo.tree(commit, folder, recursive=recursive)
        if folder and not entries:
            return refused(404, "EntryNotFound", f"{folder} does not exist")
        first = int(query.get("cursor", ["0"])[0])
        last = first + self.hub.page_size
        headers = {}
        if last < len(entries):
            path = self.path.partition("?")[0]
            flag = "true" if recursive else "false"
            address = f"{self.hub.endpoint}{path}?recursive={flag}&cursor={last}"
            headers["Link"] = f'<{address}>; rel="next"'
        return of_json(entries[first:last], headers=headers)

    def _resolve(self, repo: Repo, revision: str, path: str) -> Answer:
        token = token_of(self.headers)
        if repo.gated and token != self.hub.token:
            where = f"{self.hub.endpoint}/{repo.name}"
            text = f"Access to model {repo.name} is restricted. Visit {where} to ask for access."
            return refused(403 if token else 401, "GatedRepo", text)
        commit = repo.find(revision)
        if commit is None:
            return refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        file = repo.commits[commit].get(path)
        if file is None:
            return refused(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        if file.is_git:
            answer = of_content(file.content, self.headers.get("Range"), self.fault)
            answer.headers |= {"X-Repo-Commit": commit, "ETag": f'"{file.etag}"'}
            return answer
        answer = plain(302)
        answer.headers |= {
            "X-Repo-Commit": commit,
            "X-Linked-ETag": f'"{file.etag}"',
            "X-Linked-Size": str(file.content.size),
            "Location": self.hub.link_to(file.content, path),
            "Accept-Ranges": "bytes",
            "Vary": "Accept",
        }
        if repo.xet:
            refresh = f"{self.hub.endpoint}/api/models/{repo.name}/xet-read-token/{commit}"
            answer.headers |= {
                "X-Xet-Hash": file.xet_hash,
                "Link": f'<{refresh}>; rel="xet-auth"',
            }
        return answer


class CdnHandler(Handler):
    """Where the large files lie: an address with a signature that is good for a while."""

    origin = "cdn"
    hub: LoopbackHub

    def answer(self, address: SplitResult, query: Query) -> Answer:
        return of_storage(self, self.hub, address, query)


def of_storage(asked: Handler, hub: LoopbackHub, address: SplitResult, query: Query) -> Answer:
    """What an address of large files answers, at whichever origin they lie."""
    kind, _, sha256 = address.path.strip("/").partition("/")
    content = hub.linked.get(sha256)
    if kind != "blob" or content is None:
        return plain(404, b"NoSuchKey")
    if not hub.is_good_signature(query.get("X-Amz-Signature", [""])[0]):
        return plain(403, b"Request has expired")
    answer = of_content(content, asked.headers.get("Range"), asked.fault)
    answer.headers["ETag"] = f'"{sha256}"'
    if disposition := query.get("response-content-disposition"):
        answer.headers["Content-Disposition"] = disposition[0]
    return answer


def signed(cdn: str, sha256: str, signature: str, name: str | None) -> str:
    """The address of a blob; with the name of its file, if that is given."""
    address = f"{cdn}/blob/{sha256}?X-Amz-Signature={signature}"
    if name is None:
        return address
    plain_name = name.encode("ascii", "replace").decode()
    disposition = f"inline; filename*=UTF-8''{quote(name)}; filename=\"{plain_name}\";"
    shown = quote(disposition, safe="")
    return f"{address}&response-content-disposition={shown}"
