"""Registers a face, identifies it in another photo, analyses a group photo: Python 3.9 or later, its own library alone.

From the top of the repository:

    facesocial serve --auth off &
    python3 docs/examples/faces.py

FACESOCIAL_URL is the server (http://localhost:8000), FACESOCIAL_KEY an API key of an operator where the server wants one,
PHOTOS the folder of the photos (tests/images).
"""

import json
import os
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

URL = os.environ.get("FACESOCIAL_URL", "http://localhost:8000")
KEY = os.environ.get("FACESOCIAL_KEY")
PHOTOS = Path(os.environ.get("PHOTOS", "tests/images"))


class Refused(Exception):
    """A problem document: `code` is for programs, `detail` for people."""

    def __init__(self, problem: dict):
        super().__init__(f"{problem['code']}: {problem['detail']}")
        self.problem = problem


def ask(method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> dict:
    request = urllib.request.Request(URL + path, data=body or None, method=method)
    if body:
        request.add_header("Content-Type", content_type)
    if KEY:
        request.add_header("X-API-Key", KEY)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        raise Refused(json.load(refused)) from None


def send_json(method: str, path: str, value: dict) -> dict:
    return ask(method, path, json.dumps(value).encode())


def send_photo(path: str, photo: str, **fields: str) -> dict:
    """A form with the photo in the field `file`."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, value in fields.items():
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{photo}"\r\n\r\n'
    parts += [head.encode(), (PHOTOS / photo).read_bytes(), f"\r\n--{boundary}--\r\n".encode()]
    return ask("POST", path, b"".join(parts), f"multipart/form-data; boundary={boundary}")


def main() -> None:
    name = f"example-py-{os.getpid()}"
    send_json("POST", "/api/v1/collections", {"name": name})
    crew = f"/api/v1/collections/{name}"
    try:
        enrolled = send_photo(f"{crew}/faces", "portrait.jpg", external_id="eileen", name="Eileen Collins")
        print(f"registered {enrolled['person']['name']}, quality {enrolled['face']['quality_score']}")

        found = send_photo(f"{crew}/identify", "grey.jpg")
        for match in found["faces"][0]["matches"]:
            print(f"identified {match['person']['name']}: {match['similarity']}, needed {found['threshold']}")

        try:
            send_photo(f"{crew}/identify", "no_face.jpg")
        except Refused as refused:
            print(f"refused: {refused.problem['code']}")

        answer = send_photo(
            "/analyze/comprehensive",
            "group.jpg",
            face_service="ensemble",
            predict_gender_age="true",
            detect_spoofing="true",
            detect_deepfake="true",
        )
        faces = answer["data"]["faces"]
        print(f"analysed group.jpg: {len(faces)} faces")
        for face in faces:
            told = [f"face {face['index']}"]
            # A part that is missing has a status and a reason in place of the answer.
            for part, member in [("gender_age", "age"), ("antispoofing", "decision"), ("deepfake", "decision")]:
                told.append(f"{part} {face[part].get(member, face[part].get('reason'))}")
            print("  " + ", ".join(told))
    finally:
        ask("DELETE", crew)


if __name__ == "__main__":
    try:
        main()
    except Refused as refused:
        sys.exit(str(refused))
