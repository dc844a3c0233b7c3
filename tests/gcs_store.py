"""What the loopback Google Cloud Storage holds, and how it answers; one request at a time, as its atomic writes are."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import google_crc32c

Resource = dict[str, Any]


@dataclass
class Answer:
    """An HTTP answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, resource: Resource) -> Answer:
        return cls(body=json.dumps(resource).encode(), headers={"Content-Type": "application/json; charset=UTF-8"})


class ServiceError(Exception):
    """An error of the service."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason

    def answer(self, plain: bool = False) -> Answer:
        """As the JSON API says it; downloads say it in plain text."""
        if plain:
            return Answer(self.status, self.message.encode(), {"Content-Type": "text/html; charset=UTF-8"})
        details = [{"message": self.message, "domain": "global", "reason": self.reason}]
        answer = Answer.of({"error": {"code": self.status, "message": self.message, "errors": details}})
        answer.status = self.status
        return answer


@dataclass
class Object:
    """One generation of an object."""

    data: bytes
    generation: int
    metadata: Resource

    @property
    def crc32c(self) -> str:
        return base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data).digest()).decode()


@dataclass
class Session:
    """A resumable upload."""

    bucket: str
    query: dict[str, str]
    metadata: Resource
    data: bytes = b""
    finished: Answer | None = None


class Store:
    """Buckets of objects; the answers to requests."""

    def __init__(self, page_size: int, rewrite_bytes: int) -> None:
        self.buckets: dict[str, dict[str, Object]] = {}
        self._page_size = page_size
        self._rewrite_bytes = rewrite_bytes
        self._generations = itertools.count(1_700_000_000_000_001)
        self._names = itertools.count(1)
        self._sessions: dict[str, Session] = {}
        self._rewrites: dict[str, tuple[tuple[str, ...], int, int]] = {}
        self._lock = threading.Lock()

    def answer(
        self,
        method: str,
        parts: tuple[str, ...],
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
        base: str,
    ) -> Answer:
        """The answer to a request for the path ``parts``; raises :class:`ServiceError`."""
        with self._lock:
            match method, parts:
                case "POST", ("upload", "storage", "v1", "b", bucket, "o"):
                    return self._upload(bucket, query, headers, body, base)
                case "PUT", ("upload", "storage", "v1", "b", _, "o"):
                    return self._continue(query["upload_id"], headers, body, base)
                case "GET", ("storage", "v1", "b", bucket):
                    self._bucket(bucket)
                    return Answer.of({"kind": "storage#bucket", "name": bucket})
                case "GET", ("storage", "v1", "b", bucket, "o"):
                    return self._list(bucket, query, base)
                case "GET", (("storage" | "download"), *_, "v1", "b", bucket, "o", name):
                    found = self._found(bucket, name, query)
                    if query.get("alt") == "media":
                        return _media(found, headers.get("range"))
                    return Answer.of(_resource(bucket, name, found, base))
                case "DELETE", ("storage", "v1", "b", bucket, "o", name):
                    self._found(bucket, name, query)
                    del self.buckets[bucket][name]
                    return Answer(204)
                case "POST", ("storage", "v1", "b", bucket, "o", name, "rewriteTo", "b", to_bucket, "o", to_name):
                    return self._rewrite((bucket, name, to_bucket, to_name), query, base)
        raise ServiceError(404, "Not Found", "notFound")

    def _bucket(self, name: str) -> dict[str, Object]:
        if name not in self.buckets:
            raise ServiceError(404, "The specified bucket does not exist.", "notFound")
        return self.buckets[name]

    def _found(self, bucket: str, name: str, query: dict[str, str]) -> Object:
        found = self._bucket(bucket).get(name)
        if found is None or query.get("generation", str(found.generation)) != str(found.generation):
            raise ServiceError(404, f"No such object: {bucket}/{name}", "notFound")
        _require(found, query, "ifGenerationMatch")
        return found

    def _insert(
        self, bucket: str, name: str, data: bytes, metadata: Resource, query: dict[str, str], base: str
    ) -> Answer:
        objects = self._bucket(bucket)
        _require(objects.get(name), query, "ifGenerationMatch")
        new = Object(data, next(self._generations), metadata)
        for key, value in (("crc32c", new.crc32c), ("md5Hash", new.md5)):
            if metadata.pop(key, value) != value:
                raise ServiceError(400, f"Provided {key} doesn't match calculated {key}.", "invalid")
        if not name or len(name.encode()) > 1024 or {"\r", "\n"} & set(name):
            raise ServiceError(400, "The specified object name is not valid.", "invalid")
        objects[name] = new
        return Answer.of(_resource(bucket, name, new, base))

    def _upload(self, bucket: str, query: dict[str, str], headers: dict[str, str], body: bytes, base: str) -> Answer:
        match query["uploadType"]:
            case "media":
                return self._insert(bucket, query["name"], body, {}, query, base)
            case "multipart":
                metadata, data = _multipart(headers["content-type"], body)
                return self._insert(bucket, metadata.pop("name"), data, metadata, query, base)
            case "resumable":
                metadata = json.loads(body)
                _require(self._bucket(bucket).get(metadata["name"]), query, "ifGenerationMatch")
                session = f"session-{next(self._names)}"
                self._sessions[session] = Session(bucket, query, metadata)
                where = f"{base}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={session}"
                return Answer(headers={"Location": where})
        raise ServiceError(400, "Invalid upload type.", "invalid")

    def _continue(self, name: str, headers: dict[str, str], body: bytes, base: str) -> Answer:
        """A chunk of a resumable upload: what was received before is passed over, the last answer is given again."""
        session = self._sessions[name]
        if session.finished is not None:
            return session.finished
        first, last, total = _range(headers["content-range"])
        if first is not None and last is not None:
            if first > len(session.data) or len(body) != last - first + 1:
                raise ServiceError(400, "Invalid request. The range does not continue the upload.", "invalid")
            if total is None and len(body) % (256 << 10):
                raise ServiceError(400, "Invalid request. A chunk must be a multiple of 256 KiB.", "invalid")
            session.data += body[len(session.data) - first :]
        if total != len(session.data):
            received = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            return Answer(308, headers=received)
        metadata = dict(session.metadata)
        session.finished = self._insert(
            session.bucket, metadata.pop("name"), session.data, metadata, session.query, base
        )
        return session.finished

    def _list(self, bucket: str, query: dict[str, str], base: str) -> Answer:
        """One page of names and, with a delimiter, of the prefixes that stand for names."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        entries: dict[str, Object | None] = {}
        for name, found in self._bucket(bucket).items():
            if name.startswith(prefix):
                head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
                entries[prefix + head + cut if cut else name] = None if cut else found
        after = query.get("pageToken", "")
        names = sorted((name for name in entries if name.encode() > after.encode()), key=str.encode)
        page = names[: min(self._page_size, int(query.get("maxResults", self._page_size)))]
        listing: Resource = {"kind": "storage#objects"}
        items = [_resource(bucket, name, item, base) for name in page if (item := entries[name]) is not None]
        prefixes = [name for name in page if entries[name] is None]
        listing |= {"items": items} if items else {}
        listing |= {"prefixes": prefixes} if prefixes else {}
        listing |= {"nextPageToken": page[-1]} if len(page) < len(names) else {}
        return Answer.of(listing)

    def _rewrite(self, where: tuple[str, str, str, str], query: dict[str, str], base: str) -> Answer:
        """One call of a server-side copy, which may need more."""
        bucket, name, to_bucket, to_name = where
        source = self._bucket(bucket).get(name)
        if source is None:
            raise ServiceError(404, f"No such object: {bucket}/{name}", "notFound")
        _require(source, query, "ifSourceGenerationMatch")
        _require(self._bucket(to_bucket).get(to_name), query, "ifGenerationMatch")
        copied = 0
        if "rewriteToken" in query:
            begun, generation, copied = self._rewrites[query["rewriteToken"]]
            if begun != where or generation != source.generation:
                raise ServiceError(400, "The rewrite token does not belong to this copy.", "invalid")
        copied = min(copied + self._rewrite_bytes, len(source.data))
        answer: Resource = {"totalBytesRewritten": str(copied), "objectSize": str(len(source.data))}
        if copied < len(source.data):
            token = f"rewrite-{next(self._names)}"
            self._rewrites[token] = (where, source.generation, copied)
            return Answer.of(answer | {"done": False, "rewriteToken": token})
        inserted = self._insert(to_bucket, to_name, source.data, dict(source.metadata), query, base)
        return Answer.of(answer | {"done": True, "resource": json.loads(inserted.body)})


def _require(found: Object | None, query: dict[str, str], condition: str) -> None:
    if condition in query and int(query[condition]) != (0 if found is None else found.generation):
        raise ServiceError(412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")


def _resource(bucket: str, name: str, found: Object, base: str) -> Resource:
    path = f"v1/b/{bucket}/o/{quote(name, safe='')}"
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{found.generation}",
        "name": name,
        "bucket": bucket,
        "generation": str(found.generation),
        "metageneration": "1",
        "selfLink": f"{base}/storage/{path}",
        "mediaLink": f"{base}/download/storage/{path}?generation={found.generation}&alt=media",
        "size": str(len(found.data)),
        "crc32c": found.crc32c,
        "md5Hash": found.md5,
        **found.metadata,
    }


def _media(found: Object, wanted: str | None) -> Answer:
    headers = {
        "Content-Type": found.metadata.get("contentType", "application/octet-stream"),
        "X-Goog-Generation": str(found.generation),
        "X-Goog-Hash": f"crc32c={found.crc32c},md5={found.md5}",
        "X-Goog-Stored-Content-Length": str(len(found.data)),
        "X-Goog-Stored-Content-Encoding": "identity",
    }
    if wanted is None:
        return Answer(200, found.data, headers)
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
    assert match is not None, wanted
    first = int(match[1])
    if first >= len(found.data):
        raise ServiceError(416, "The requested range cannot be satisfied.", "requestedRangeNotSatisfiable")
    part = found.data[first : int(match[2]) + 1 if match[2] else None]
    headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(found.data)}"
    return Answer(206, part, headers)


def _multipart(content_type: str, body: bytes) -> tuple[Resource, bytes]:
    """(metadata, content) of a multipart/related body."""
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    assert match is not None, content_type
    _, metadata, content, _ = (b"\r\n" + body).split(f"\r\n--{match[1]}".encode())
    return json.loads(metadata.partition(b"\r\n\r\n")[2]), content.partition(b"\r\n\r\n")[2]


def _range(content_range: str) -> tuple[int | None, int | None, int | None]:
    """(first, last, total) of a Content-Range, None for each that it does not say."""
    match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(?:(\d+)|\*)", content_range)
    assert match is not None, content_range
    first, last, total = (None if number is None else int(number) for number in match.groups())
    return first, last, total
