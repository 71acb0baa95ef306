"""Registers, identifies and analyses with the generated client. FACESOCIAL_URL is the server, PHOTOS the folder of photos."""

import os
from io import BytesIO
from pathlib import Path

from facesocial_client import Client
from facesocial_client.api.analysis import post_analyze_comprehensive
from facesocial_client.api.gallery import (
    delete_api_v1_collections_name,
    post_api_v1_collections,
    post_api_v1_collections_name_faces,
    post_api_v1_collections_name_identify,
)
from facesocial_client.models import (
    Analysis,
    Collection,
    Deleted,
    Enrolled,
    Identified,
    Liveness,
    MatchedPerson,
    Method,
    PostAnalyzeComprehensiveBody,
    PostApiV1CollectionsBody,
    PostApiV1CollectionsNameFacesFilesBody,
    PostApiV1CollectionsNameIdentifyFilesBody,
    Problem,
)
from facesocial_client.types import File

PHOTOS = Path(os.environ["PHOTOS"])
NAME = f"client-py-{os.getpid()}"


def photo(name: str) -> File:
    return File(payload=BytesIO((PHOTOS / name).read_bytes()), file_name=name)


with Client(base_url=os.environ["FACESOCIAL_URL"], timeout=180) as client:
    made = post_api_v1_collections.sync(client=client, body=PostApiV1CollectionsBody(name=NAME))
    assert isinstance(made, Collection) and made.name == NAME, made

    person = PostApiV1CollectionsNameFacesFilesBody(file=photo("portrait.jpg"), external_id="eileen", name="Eileen")
    enrolled = post_api_v1_collections_name_faces.sync(NAME, client=client, body=person)
    assert isinstance(enrolled, Enrolled), enrolled
    print(f"registered {enrolled.person.name}: {enrolled.face.quality_score}")

    grey = PostApiV1CollectionsNameIdentifyFilesBody(file=photo("grey.jpg"))
    found = post_api_v1_collections_name_identify.sync(NAME, client=client, body=grey)
    assert isinstance(found, Identified), found
    (match,) = found.faces[0].matches
    assert isinstance(match.person, MatchedPerson) and match.similarity >= found.threshold, found
    print(f"identified {match.person.name}: {match.similarity}")

    nobody = PostApiV1CollectionsNameIdentifyFilesBody(file=photo("no_face.jpg"))
    refused = post_api_v1_collections_name_identify.sync(NAME, client=client, body=nobody)
    assert isinstance(refused, Problem), refused
    print(f"refused: {refused.code}")

    group = PostAnalyzeComprehensiveBody(file=photo("group.jpg"), face_service=Method.ENSEMBLE, detect_spoofing=True)
    analysis = post_analyze_comprehensive.sync(client=client, body=group)
    assert isinstance(analysis, Analysis), analysis
    faces = analysis.data.faces
    assert all(isinstance(face.antispoofing, Liveness) for face in faces), faces
    print(f"analysed group.jpg: {len(faces)} faces")

    deleted = delete_api_v1_collections_name.sync(NAME, client=client)
    assert isinstance(deleted, Deleted) and deleted.faces == 1, deleted
