"""What schemathesis does not know by itself: who asks, photos that networks can look at, and what must stay for the next case.

`run.py` sets the environment: CONFORMANCE_TOKEN (nothing for a stranger), CONFORMANCE_LOGINS (access tokens that may be ended,
separated by commas), CONFORMANCE_KEPT (identifiers that the run itself needs, separated by commas).
"""

import base64
import io
import itertools
import json
import os
import pathlib
import re
import uuid
import zipfile

import schemathesis
from hypothesis import strategies
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.transport.serialization import Binary

IMAGES = pathlib.Path(__file__).resolve().parent.parent / "images"
TOKEN = os.environ.get("CONFORMANCE_TOKEN", "")
LOGINS = itertools.cycle(list(filter(None, os.environ.get("CONFORMANCE_LOGINS", "").split(","))))
KEPT = set(filter(None, os.environ.get("CONFORMANCE_KEPT", "").split(",")))
LOGOUT = "/api/v1/auth/logout"
ARCHIVES_GO_TO = ("/api/v1/jobs", "/api/v1/collections/{name}/imports")


def archive(*names: str) -> bytes:
    """A ZIP archive of photos, each in a folder of its own."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for n, name in enumerate(names):
            zipped.write(IMAGES / name, f"person-{n}/{name}")
    return packed.getvalue()


def cursor(after: uuid.UUID) -> str:
    """A cursor as an answer gives it."""
    return base64.urlsafe_b64encode(b"\x01" + after.bytes).decode().rstrip("=")


PHOTOS = [
    (IMAGES / name).read_bytes()
    for name in ("portrait.jpg", "portrait_2.jpg", "grey.jpg", "group.jpg", "no_face.jpg", "profile.jpg", "rotated_exif_6.jpg")
]
ARCHIVES = [archive("portrait.jpg", "portrait_2.jpg"), archive("no_face.jpg")]

# What follows the end of a JPEG belongs to no picture: the same faces, and bytes that no cache knows.
photos = strategies.builds(lambda photo, tail: photo + tail, strategies.sampled_from(PHOTOS), strategies.binary(max_size=4))
cut = strategies.builds(lambda photo, size: photo[:size], strategies.sampled_from(PHOTOS), strategies.integers(1, 4000))
noise = strategies.binary(min_size=1, max_size=200)

schemathesis.openapi.format("binary", strategies.one_of(photos, photos, cut, noise))
schemathesis.openapi.format("byte", photos.map(lambda photo: base64.b64encode(photo).decode()))
schemathesis.openapi.format("cursor", strategies.uuids().map(cursor))


if TOKEN:

    # Nothing is cached: the token depends on the operation.
    @schemathesis.auth(refresh_interval=None)
    class Caller:
        """The caller of this run. Logins that are ended are others than its own."""

        def get(self, case, context):
            return next(LOGINS, TOKEN) if case.path == LOGOUT else TOKEN

        def set(self, case, data, context):
            case.headers = case.headers or {}
            case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def filter_case(context, case):
    """Leaves the accounts and keys alone that the run itself stands on."""
    changes = case.method in ("DELETE", "PATCH")
    return not (changes and any(str(value) in KEPT for value in (case.path_parameters or {}).values()))


@schemathesis.hook
def before_call(context, case, kwargs):
    """Names each write anew, and sends archives to where they are unpacked."""
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    key = (case.headers or {}).get("Idempotency-Key")
    # Drawn again, a key would name another request than the first one. Those of the greatest length keep it.
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key):
        case.headers = {**case.headers, "Idempotency-Key": f"{key[:219]}{uuid.uuid4()}"}
    if case.operation.path in ARCHIVES_GO_TO and isinstance(case.body, dict):
        file = case.body.get("file")
        # Where a photo was drawn; cut ones and noise are sent as they are.
        if isinstance(file, Binary) and len(file.data) > 4000:
            case.body = {**case.body, "file": Binary(ARCHIVES[len(file.data) % len(ARCHIVES)])}


def is_uuid(text: str) -> bool:
    """Whether a text is an identifier of something stored."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


NUMBERS = {"integer": r"[+-]?\d+", "number": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"}


def is_read_all_the_same(value, kind) -> bool:
    """Whether a value that its schema has no place for is read by the rules that the document's description tells."""
    # To Python, a file is an empty text.
    if isinstance(value, Binary):
        return False
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    text = value.strip() if isinstance(value, str) else json.dumps(value)
    # In the place of a name, a number is one.
    if kind in (None, "string"):
        return isinstance(value, (bool, int, float))
    if kind == "boolean":
        return not isinstance(value, bool) and text.lower() in ("true", "false", "1", "0", "yes", "no")
    return isinstance(value, str) and kind in NUMBERS and re.fullmatch(NUMBERS[kind], text) is not None


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Leaves out what is no failure.

    In a sequence, an identifier of an answer is tried wherever one of its name is wanted: the faces of an analysis have names
    of their own, mp_face_0, by which none is stored.

    Queries and the fields of photos, from forms and from JSON, are read by one set of rules: an empty one is none, text may be a
    number, a number a name. A schema has no words for that. A body passes if one of the members that break its schema is one of
    those.
    """
    if isinstance(failure, RejectedPositiveData) and response.status_code == 400:
        stored = [value for name, value in (case.path_parameters or {}).items() if name in ("id", "face_id")]
        return all(is_uuid(str(value)) or str(value).startswith("external:") for value in stored)
    if not isinstance(failure, AcceptedNegativeData):
        return True
    if "" in (case.query or {}).values():
        return False
    if not isinstance(case.body, dict):
        return True
    # What was put into a good request makes schemathesis take it for another one than it made.
    if getattr(case.body.get("file"), "data", None) in ARCHIVES:
        return False
    body = next((body for body in case.operation.body if body.media_type == case.media_type), None)
    properties = (body.raw_schema.get("properties") or {}) if body and isinstance(body.raw_schema, dict) else {}
    if not ({"file", "files", "image", "file1"} & properties.keys()):
        return True
    given = ((value, properties[name].get("type")) for name, value in case.body.items() if name in properties)
    return not any(is_read_all_the_same(value, kind) for value, kind in given)
