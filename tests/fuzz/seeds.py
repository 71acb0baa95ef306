"""Makes the seeds in corpus/: small well-formed inputs of every kind, from which the fuzzer starts. Needs requirements.txt.

    python seeds.py

What the fuzzer itself found and is kept (crash-*, found-*) stays. Formats that Python cannot write are written by hand here.
"""

import base64
import io
import json
import pickle
import pickletools
import struct
import sys
import types
import zipfile
from pathlib import Path

import flatbuffers
from PIL import Image

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images"
ROOT = HERE.parent.parent
ORIENTATION = 0x0112
EPOCH = (2026, 1, 1, 0, 0, 0)


def save(target, name, content):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


# Pictures.


def face(side):
    """The face of the portrait."""
    return Image.open(IMAGES / "portrait.jpg").convert("RGB").crop((150, 30, 310, 190)).resize((side, side))


def encoded(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def turned(image, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, "JPEG", quality=40, exif=exif)


def pictures():
    small, alpha = face(24), face(24).convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize((24, 24)))
    deep = Image.new("I;16", (16, 12))
    deep.putdata([i * 300 for i in range(16 * 12)])
    yield "portrait.jpg", encoded(face(96), "JPEG", quality=60)
    yield "grey.jpg", encoded(small.convert("L"), "JPEG", quality=40)
    yield "progressive.jpg", encoded(small, "JPEG", quality=40, progressive=True)
    yield "half.jpg", encoded(small, "JPEG", quality=40, subsampling=2)
    yield "restart.jpg", encoded(small, "JPEG", quality=40, restart_marker_blocks=1)
    yield "cmyk.jpg", encoded(small.convert("CMYK"), "JPEG", quality=40)
    for orientation in (2, 6):
        yield f"turned_{orientation}.jpg", turned(small.crop((0, 0, 24, 12)), orientation)
    yield "rgb.png", encoded(small, "PNG")
    yield "alpha.png", encoded(alpha, "PNG")
    yield "palette.png", encoded(small.quantize(16), "PNG", bits=4)
    yield "bit.png", encoded(small.convert("1"), "PNG")
    yield "deep.png", encoded(deep, "PNG")
    yield "frames.gif", encoded(small.quantize(16), "GIF", save_all=True, append_images=[face(24).quantize(8)])
    yield "rgb.bmp", encoded(small.resize((12, 12)), "BMP")
    yield "palette.bmp", encoded(small.quantize(16), "BMP")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4"):
        picture = small.convert("1") if compression == "group4" else small.resize((12, 12))
        yield f"{compression}.tiff", encoded(picture, "TIFF", compression=compression)
    yield "deep.tiff", encoded(deep, "TIFF")
    yield "lossy.webp", encoded(small, "WEBP", quality=40)
    yield "lossless.webp", encoded(alpha, "WEBP", lossless=True)
    yield "alpha.webp", encoded(alpha, "WEBP", quality=40)
    yield "frames.webp", encoded(small, "WEBP", save_all=True, append_images=[face(24).rotate(90)], quality=40)


# Forms and requests.


def form(parts, end="\r\n"):
    """A multipart body with the boundary x, of (name, file name or None, content)."""
    body = b""
    for name, filename, content in parts:
        file = f'; filename="{filename}"' if filename else ""
        head = f'--x{end}Content-Disposition: form-data; name="{name}"{file}{end}{end}'
        body += head.encode() + (content if isinstance(content, bytes) else content.encode()) + end.encode()
    return body + f"--x--{end}".encode()


def request(line, body=None, **headers):
    """As the targets http and access read one."""
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
        headers.setdefault("content_type", "application/json")
    if isinstance(body, str):
        body = body.encode()
    head = "".join(f"\n{name.replace('_', '-')}: {value}" for name, value in headers.items())
    return (line + head).encode() + (b"\n\n" + body if body else b"")


def archive(entries, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name, EPOCH), content, method)
    return out.getvalue()


def requests(photo):
    multipart = "multipart/form-data; boundary=x"
    crew = "/api/v1/collections/crew"
    upload = lambda line, *parts: request(line, form([("file", "a.jpg", photo), *parts]), content_type=multipart)
    text = lambda **fields: [(name, None, str(value)) for name, value in fields.items()]
    image = base64.b64encode(photo).decode()
    yield "root", request("GET /", accept="text/html")
    yield "console", request("GET /console/index.html", accept_encoding="gzip")
    yield "document", request("GET /openapi.json", if_none_match='"x"')
    yield "metrics", request("GET /metrics")
    yield "preflight", request("OPTIONS /api/v1/collections", origin="https://app.example", access_control_request_method="POST")
    yield "origin", request("GET /health", origin="http://localhost:8000", host="localhost:8000")
    asked = dict(detection_confidence=0.3, min_face_size=10, max_faces=3, face_service="mtcnn", include_landmarks="true")
    wanted = dict(predict_gender_age=1, detect_spoofing=1, recognize_faces=1, detect_deepfake=1, assess_quality=1)
    search = dict(collection="crew", top_k=3, min_similarity=0.1, verification_level="strict", store="true", face_groups="a,b")
    yield "comprehensive", upload("POST /analyze/comprehensive", *text(**asked, **wanted))
    yield "searching", upload("POST /analyze/comprehensive", *text(**search, return_embeddings=1))
    files = [("files", "a.jpg", photo), ("files", "b.png", b"no image")]
    yield "batch", request("POST /analyze/batch", form(files), content_type=multipart)
    yield "boxes", upload("POST /antispoof/detect", *text(face_boxes='[{"x":10,"y":10,"width":60,"height":70}]'))
    yield "unified", upload("POST /api/v1/face-detection/detect", *text(detection_method="mediapipe", quality_assessment=1))
    yield "base64", request("POST /mediapipe/detect_base64", {"image": f"data:image/jpeg;base64,{image}", "min_confidence": 0.5})
    pair = [("file1", "a.jpg", photo), ("file2", "b.jpg", photo)]
    yield "compare", request("POST /face-recognition/compare", form(pair), content_type=multipart)
    yield "setup", request("POST /api/v1/auth/setup", {"token": "x", "username": "root", "password": "correct horse battery"})
    yield "login", request("POST /api/v1/auth/login", {"username": "root", "password": "x"})
    yield "refresh", request("POST /api/v1/auth/refresh", {"refresh_token": "x"})
    yield "logout", request("POST /api/v1/auth/logout", {"all": True})
    yield "account", request("PATCH /api/v1/account", {"password": "a", "new_password": "correct horse battery", "email": "a@b.c"})
    yield "user", request("POST /api/v1/users", {"username": "ann", "password": "correct horse battery", "role": "user"})
    yield "users", request("GET /api/v1/users?limit=3&cursor=AQGT0oM9cXWCkAAAAAAAAAAA")
    key = {"name": "k", "scopes": ["analyze", "search"], "collections": [], "expires_at": "2030-01-01T00:00:00Z"}
    yield "key", request("POST /api/v1/keys", key, idempotency_key="7f0c-1")
    yield "keys", request("GET /api/v1/keys?all=true")
    yield "collection", request("POST /api/v1/collections", {"name": "other", "description": "d"}, idempotency_key="1")
    yield "gone", request("DELETE /api/v1/collections/other")
    person = {"external_id": "sally", "name": "Sally", "metadata": {"crew": 7, "x": [None, 1e9]}}
    yield "person", request(f"POST {crew}/persons", person, idempotency_key="2")
    yield "persons", request(f"GET {crew}/persons?name=EIL%20&limit=2&external_id=eileen")
    yield "changed", request(f"PATCH {crew}/persons/{{person}}", {"name": "Eileen C", "metadata": {}, "external_id": "eileen"})
    yield "export", request(f"GET {crew}/persons/{{person}}/export")
    yield "enrol", upload(f"POST {crew}/persons/{{person}}/faces", *text(target_face=0, quality_gate="false", face_group="g"))
    yield "faces", request(f"GET {crew}/faces?face_group=g&limit=5")
    yield "crop", request(f"GET {crew}/faces/{{face}}/crop")
    yield "face", request(f"PATCH {crew}/faces/{{face}}", {"face_group": "first", "person": "{person}"})
    yield "verify", upload(f"POST {crew}/verify", *text(person="external:eileen", verification_level="basic"))
    yield "identify", request(f"POST {crew}/identify", {"image": image, "faces": "all", "top_k": 2, "face_groups": ["g"]})
    yield "import", request(f"POST {crew}/imports", archive([("ann/1.jpg", photo)]), content_type="application/zip")
    yield "group", request(f"POST {crew}/jobs", {"kind": "duplicates", "options": {"min_similarity": 0.5}})
    job = {"kind": "analyze", "source": {"urls": ["https://a.example/1.jpg"]}, "options": {"assess_quality": True, "top_k": 1}}
    hook = {"url": "https://hook.example/x", "secret": "0123456789abcdef", "every": 5}
    yield "analyses", request("POST /api/v1/jobs", {**job, "webhook": hook})
    zipped = [("kind", None, "analyze"), ("options", None, '{"detect_faces":true}'), ("file", "a.zip", archive([("a.jpg", photo)]))]
    yield "zipped", request("POST /api/v1/jobs", form(zipped), content_type=multipart)
    yield "jobs", request("GET /api/v1/jobs?status=queued&kind=group&limit=1")
    yield "results", request("GET /api/v1/jobs/{job}/results?limit=2&cursor=0")
    yield "cancel", request("POST /api/v1/jobs/{job}/cancel")
    yield "register", upload("POST /api/v1/face-recognition/register", *text(user_id="u1", user_name="U", metadata='{"a":1}'))
    yield "legacy", request("POST /face-recognition/identify", {"image": image, "top_k": 3, "threshold": 0.4, "collection": "crew"})
    yield "of_user", request("GET /api/v1/face-recognition/users/eileen/faces?collection=crew")
    yield "moved", request("PUT /api/v1/face-recognition/faces/{face}", {"name": "E", "metadata": {"a": 1}, "image": image})
    yield "sessions", request("GET /api/v1/sessions?limit=3&from=2026-01-01T00:00:00Z&to=2026-12-31T00:00:00Z")
    yield "session", request("GET /api/v1/sessions/{session}")
    yield "photo", request("GET /api/v1/sessions/{session}/image", range="bytes=0-10")
    yield "audit", request("GET /api/v1/audit?action=collection.create&actor=x&limit=2")
    yield "models", request("POST /api/v1/models/blazeface-short/pin")
    yield "budget", request("PUT /api/v1/models/budgets/yolo", {"bytes": 1 << 30})
    yield "live", request("GET /api/v1/live", upgrade="websocket", connection="Upgrade")


def strangers(photo):
    """Requests of nobody, with what looks like a credential."""
    yield from ((name, content) for name, content in requests(photo) if name in ("root", "login", "setup", "users", "metrics"))
    token = ".".join(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in (b'{"alg":"none"}', b'{"sub":"x","exp":9999999999}', b""))
    for name, headers in {
        "bearer": {"authorization": f"Bearer {token}"},
        "key": {"x_api_key": "fsk_" + "A" * 43},
        "key_as_bearer": {"authorization": "bearer fsk_" + "A" * 43},
        "both": {"authorization": "Bearer a.b.c", "x_api_key": "fsk_x"},
        "basic": {"authorization": "Basic dXNlcjpwYXNz", "cookie": "session=x"},
        "proxy": {"x_forwarded_for": "127.0.0.1", "x_real_ip": "::1", "x_request_id": "order-17"},
    }.items():
        yield name, request("GET /api/v1/account", **headers)
    yield "internal", request("POST /internal/v1/networks/mtcnn", b"FSNW", authorization="Bearer x")
    yield "upload", request("POST /detect/faces", form([("file", "a.jpg", b"x")]), content_type="multipart/form-data; boundary=x")


def forms(photo):
    media_type = b"multipart/form-data; boundary=x\n"
    one, two = ("file", "a.jpg", photo[:600]), ("file2", "C:\\b.jpg", b"b" * 50)
    fields = [("max_faces", None, "3"), ("note", None, "Zoë")]
    yield "single", b"\x00\xff" + media_type + form([one, *fields])
    yield "slow", b"\x00\x00" + media_type + form([fields[0], ("file", "a", b"x" * 40)])
    yield "batch", b"\x01\x05" + media_type + form([("files", "a.jpg", b"a"), ("files[]", "b.jpg", b""), *fields])
    yield "five", b"\x02\x05" + media_type + form([("files", f"{i}.jpg", b"a") for i in range(5)])
    yield "pair", b"\x03\x20" + media_type + form([("file1", "a", b"a"), two])
    yield "photo", b"\x04\x20" + media_type + form([("file", None, b"a" * 30), *fields])
    yield "json", b"\x04\x20application/json\n" + json.dumps({"image": "aGFsbG8=", "top_k": 3, "x": None, "y": [1]}).encode()
    yield "quoted", b'\x00\x20multipart/form-data; boundary="x"; charset=utf-8\n' + form([one])
    yield "lines", b"\x00\x20" + media_type + form([("file", "a", b"a")], "\n")
    yield "headers", b"\x00\x20" + media_type + (
        b'--x\r\nContent-Type: image/jpeg\r\nContent-Disposition: form-data; name="file"; filename*=UTF-8\'\'%e2%82%ac.jpg'
        b"\r\nContent-Length: 3\r\nContent-Transfer-Encoding: binary\r\n\r\nabc\r\n--x--"
    )
    yield "large", b"\x01\xff" + media_type + form([("files", "a", b"\0" * 33000)])


def messages(photo):
    def message(kind, data):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        return struct.pack(">BH", kind, len(data)) + data

    start = {"type": "start", "analyses": ["antispoof", "gender_age", "recognition", "quality"], "collection": "crew"}
    options = {"verification_level": "strict", "detector": "mtcnn", "max_fps": 15, "min_score": 0.3, "min_size": 5, "max_faces": 2}
    stop = message(0, {"type": "stop"})
    yield "session", message(0, {**start, **options}) + message(0, {"type": "frame", "seq": 7}) + message(5, photo) + stop
    yield "plain", message(0, {"type": "start"}) + message(5, photo) + message(5, photo) + message(9, b"ping") + message(11, b"\x03\xe8")
    yield "auth", message(0, {"type": "auth", "token": "a.b.c"}) + message(64, b"no json") + message(5, b"no start")
    halves = json.dumps({"type": "start", "detector": "auto"}).encode()
    yield "parts", message(12, halves[:9]) + message(13, halves[9:20]) + message(14, halves[20:]) + message(10, b"x")
    yield "raw", message(15, bytes.fromhex("818500000000") + b"hello") + message(15, bytes.fromhex("82ff0000000100000000"))


# Weights.


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    """A field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx(nodes, constants):
    tensor = lambda name, dims, raw: b"".join(field(1, d) for d in dims) + field(2, 1) + field(8, name) + field(9, raw)
    graph = b"".join(field(1, node) for node in nodes) + field(2, "g")
    graph += b"".join(field(5, tensor(*constant)) for constant in constants) + field(11, field(1, "x")) + field(12, field(1, "y"))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


def operator(op, output, inputs, **attributes):
    node = b"".join(field(1, i) for i in inputs) + field(2, output) + field(3, f"n_{output}") + field(4, op)
    for name, value in attributes.items():
        if isinstance(value, float):
            body = field(2, value) + field(20, 1)
        elif isinstance(value, int):
            body = field(3, value) + field(20, 2)
        else:
            body = b"".join(field(8, v) for v in value) + field(20, 7)
        node += field(5, field(1, name) + body)
    return node


def graphs():
    floats = lambda n: struct.pack(f"<{n}f", *(0.5 + i for i in range(n)))
    geometry = dict(strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3], dilations=[1, 1], group=1)
    norm = operator("BatchNormalization", "b", ["c", "s", "t", "m", "v"], epsilon=1e-5)
    nodes = [
        operator("Sub", "a", ["x", "mean"]),
        operator("Conv", "c", ["a", "w", "bias"], **geometry),
        norm,
        operator("PRelu", "p", ["b", "slope"]),
        operator("GlobalAveragePool", "g", ["p"]),
        operator("Flatten", "f", ["g"], axis=1),
        operator("Gemm", "y", ["f", "fw", "fb"], transB=1, alpha=1.0, beta=1.0),
    ]
    two = [(name, [2], floats(2)) for name in ("bias", "s", "t", "m", "v")]
    constants = [("mean", [], floats(1)), ("w", [2, 3, 3, 3], floats(54)), ("slope", [2, 1, 1], floats(2)), *two]
    yield "chain.onnx", onnx(nodes, [*constants, ("fw", [4, 2], floats(8)), ("fb", [4], floats(4))])
    yield "mul.onnx", onnx([operator("Mul", "h", ["x", "k"]), operator("Relu", "y", ["h"])], [("k", [1], floats(1))])
    stored = field(1, 2) + field(2, 10) + field(5, varint(0x3C00) + varint(0xC000)) + field(8, "half")
    yield "typed.onnx", field(7, field(5, stored) + field(5, field(1, 1) + field(2, 7) + field(7, varint(5)) + field(8, "long")))


def tensors():
    blob = lambda header, data: struct.pack("<Q", len(header)) + header + data
    plain = {"a.weight": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}, "__metadata__": {"format": "pt"}}
    yield "plain", blob(json.dumps(plain).encode(), bytes(12))
    entry = lambda dtype, shape, begin, end: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    affine = {"b": entry("U8", [2], 0, 2), "b.scale": entry("F64", [1], 2, 10), "b.min": entry("F64", [], 10, 18)}
    yield "affine", blob(json.dumps({**affine, "h": entry("F16", [1, 1], 18, 20)}).encode(), bytes(20))
    yield "types", blob(json.dumps({"i": entry("I64", [1], 0, 8), "z": entry("BF16", [0, 4], 8, 8)}).encode(), bytes(8))
    yield "wide", blob(json.dumps({"w": entry("F32", [2**40, 2**40], 0, 4)}).encode(), bytes(4))


class Storage:
    def __init__(self, key, kind, count):
        self.key, self.kind, self.count = key, kind, count


class Call:
    """A call that a pickle describes."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def torch_modules():
    """Modules with the names that a pickle of torch speaks of; nothing in them does anything."""
    utils, torch = types.ModuleType("torch._utils"), types.ModuleType("torch")
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = lambda *_: None
        function.__module__, function.__name__, function.__qualname__ = "torch._utils", name, name
        setattr(utils, name, function)
    for name in ("FloatStorage", "HalfStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    sys.modules.update({"torch": torch, "torch._utils": utils})
    return torch, utils


def pickled(value, torch):
    class Pickler(pickle.Pickler):
        def persistent_id(self, found):
            if isinstance(found, Storage):
                return ("storage", getattr(torch, found.kind), found.key, "cpu", found.count)
            return None

    out = io.BytesIO()
    Pickler(out, 2).dump(value)
    return out.getvalue()


def states():
    torch, utils = torch_modules()
    tensor = lambda storage, offset, shape, stride: Call(utils._rebuild_tensor_v2, storage, offset, shape, stride, False, {})
    weight = tensor(Storage("0", "FloatStorage", 6), 0, (2, 3), (3, 1))
    turned = tensor(Storage("0", "FloatStorage", 6), 1, (2, 2), (1, 2))
    count = tensor(Storage("1", "LongStorage", 1), 0, (), ())
    state = {"a.weight": weight, "a.turned": turned, "a.count": count, "p": Call(utils._rebuild_parameter, weight, True, {})}
    body = pickled(state, torch)
    assert pickletools.genops(body)
    entries = [("w/data.pkl", body), ("w/byteorder", "little"), ("w/data/0", bytes(24)), ("w/data/1", bytes(8))]
    yield "zip.pt", archive(entries, zipfile.ZIP_STORED)
    packed = archive([(name, content) for name, content in entries if "order" not in name])
    yield "deflated.pt", packed
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickled(system, torch)
    storages = pickle.dumps(["0", "1"], 2) + struct.pack("<Q", 6) + bytes(24) + struct.pack("<Q", 1) + bytes(8)
    yield "legacy.pt", head + body + storages


def lite():
    """A model of TensorFlow Lite with two constants and an activation."""
    builder = flatbuffers.Builder(256)

    def table(*slots):
        builder.StartObject(len(slots))
        for slot, (kind, value) in enumerate(slots):
            if kind is not None:
                getattr(builder, f"Prepend{kind}Slot")(slot, value, 0)
        return builder.EndObject()

    def vector(values):
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependUOffsetTRelative(value)
        return builder.EndVector()

    none = (None, 0)
    buffers = []
    for data in (b"", struct.pack("<2f", 1.5, -2), b"\0\x3c"):
        buffers.append(table(("UOffsetTRelative", builder.CreateByteVector(data)), none))
    found = []
    for name, shape, kind, buffer in (("x", [1, 2], 0, 0), ("net/w", [2, 1], 0, 1), ("net/h", [1], 1, 2)):
        name = builder.CreateString(name)
        builder.StartVector(4, len(shape), 4)
        for axis in reversed(shape):
            builder.PrependInt32(axis)
        slots = ("UOffsetTRelative", builder.EndVector()), ("Int8", kind), ("Uint32", buffer), ("UOffsetTRelative", name)
        found.append(table(*slots))
    graph = table(("UOffsetTRelative", vector(found)))
    graphs, buffers = vector([graph]), vector(buffers)
    model = table(("Uint32", 3), none, ("UOffsetTRelative", graphs), none, ("UOffsetTRelative", buffers))
    builder.Finish(model, b"TFL3")
    return bytes(builder.Output())


def js():
    quantized = lambda kind: {"dtype": kind, "scale": 0.1, "min": -1.5, "original_dtype": "float32"}
    weights = [
        {"name": "f", "shape": [2], "dtype": "float32"},
        {"name": "i", "shape": [], "dtype": "int32"},
        {"name": "h", "shape": [1], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {"name": "q", "shape": [3], "dtype": "float32", "quantization": quantized("uint8")},
        {"name": "w", "shape": [2], "dtype": "float32", "quantization": quantized("uint16")},
    ]
    groups = [{"paths": ["a.bin"], "weights": weights}]
    yield "groups", json.dumps(groups).encode() + b"\0" + bytes(21)
    yield "model", json.dumps({"format": "graph-model", "weightsManifest": groups}).encode() + b"\0" + bytes(21)


# What servers tell each other.


def picture(width=4, height=3):
    return struct.pack("<II", width, height) + bytes(i % 256 for i in range(width * height * 3))


def told_face():
    points = b"".join(bytes([i]) + struct.pack("<2f", 20 + i, 20) for i in range(5))
    return struct.pack("<5f", 10, 8, 30, 32, 0.9) + b"\x05" + points


def values():
    count = lambda n: struct.pack("<I", n)
    ages = struct.pack("<3f", 0.2, 0.8, 31)
    faceres = count(2) + struct.pack("<2f", 1, 2) + struct.pack("<f", 31) + bytes([25, 38]) + struct.pack("<f", 0.7)
    kinds = [
        struct.pack("<f", 1.5),
        count(2) + struct.pack("<2f", 1, -2),
        picture(),
        count(2) + picture(2, 1) + picture(1, 2),
        picture() + struct.pack("<f", 0.5),
        count(1) + told_face(),
        count(2) + b"\0\1" + told_face(),
        ages,
        faceres,
        b"\0" + struct.pack("<f", 20) + picture(),
        count(1) + struct.pack("<4f", 1, 2, 3, 4),
    ]
    for kind, content in enumerate(kinds):
        yield f"kind_{kind:02}", bytes([kind]) + content


def remotes():
    one = struct.pack("<I", 1)
    grey = lambda side: struct.pack("<II", side, side) + bytes([99]) * (side * side * 3)
    # Questions: which service, how many items, the items.
    yield "ask_mediapipe", bytes([0, 1]) + grey(128) + struct.pack("<f", 0.5)
    yield "ask_mtcnn", bytes([4, 1]) + b"\0" + struct.pack("<f", 20) + picture(16, 12)
    yield "ask_age", bytes([6, 1]) + grey(96)
    # Answers: which detector, how many items, then of each whether it went well.
    yield "faces", bytes([1, 1]) + b"\0" + one + told_face()
    yield "cascade", bytes([5, 1]) + b"\0" + one + b"\1" + told_face()
    yield "failed", bytes([3, 1]) + b"\1\x05sorry"
    yield "own_head", bytes([7, 0]) + b"FSNW\x01\x02"


# Words.


def words():
    yield "cli", "serve", "serve\n--services\nmtcnn,yolo\n--listen\nmtcnn=127.0.0.1:9003\n--max-image-bytes\n20MiB\n--auth\noff"
    yield "cli", "limits", "serve\n--rate-limit\n60\n--request-timeout\n30\n--max-pixels\n1000000\n--idle-unload\n60"
    yield "cli", "far", "serve\n--upstream\nrecognition=http://a:8004,http://[::1]:8004\n--job-url-hosts\nhttp://nas:8080=private"
    yield "cli", "networks", "analyze\na.jpg\n--network\nantispoof=minifasnet\n--ensemble\na:0.25,b:0.75\n--thresholds\n1e-2=0.3,1e-3=0.4"
    yield "cli", "eval", "eval\nverification\npairs.csv\n--bootstrap\n10\n--format\njson"
    yield "cli", "ctl", "ctl\nscale\nmtcnn=2\n--data-dir\n/x"
    yield "cli", "db", "db\nbackup\n--database-url\npostgres://u:p@h/d"
    yield "cli", "video", "video\na.mp4\n--every\n0.2\n--max-frames\n10"
    yield "outbound", "hosts", "images.example.org\nhttp://nas.local:8080=private\n[fd00::7]:8443=private\nhttps://images.example.org/a.jpg?s=1#x"
    yield "outbound", "odd", "a.example\n::ffff:10.1.2.3\n64:ff9b::8.8.8.8\nhttp://127.0.0.1:1\nhttps://a.example@evil.example/"
    yield "outbound", "names", "XN--BCHER-KVA.example\n0x7f.1\n0177.0.0.1\n2130706433\nhttps://bücher.example:443/%2e%2e/"
    yield "query", "page", "limit=3&cursor=AQGT0oM9cXWCkAAAAAAAAAAA&all=yes\nidempotency-key: 7f0c-1\nx-request-id: order-17"
    boxes = '%5B%7B%22x%22:1,%22y%22:2,%22width%22:30,%22height%22:40%7D%5D'
    yield "query", "values", f"score=0.5&detector=mtcnn&face_boxes={boxes}&list=%5B%22a%22%5D&all=0&name=Zo%C3%AB+x"
    yield "query", "twice", "limit=1&limit=200\nidempotency-key: a\nidempotency-key: b"
    yield "token", "claims", json.dumps({"iss": "facesocial", "aud": "facesocial", "sub": "01920000-0000-7000-8000-000000000000", "role": "admin", "sid": "01920000-0000-7000-8000-000000000001", "jti": "01920000-0000-4000-8000-000000000002", "iat": 1, "exp": 9999999999})
    yield "token", "service", json.dumps({"iss": "facesocial", "aud": "facesocial-service", "sub": "gateway", "jti": "01920000-0000-4000-8000-000000000002", "iat": 9999999990, "exp": 9999999999})
    yield "token", "between", json.dumps({"iss": "facesocial", "aud": "facesocial-internal", "sub": "gateway", "iat": -9223372036854775808, "exp": 9999999999})
    yield "token", "none", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."
    yield "token", "signed", "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4IiwiZXhwIjo5OTk5OTk5OTk5fQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    yield "labels", "ages", "image,age,gender,group\n a.jpg , 31 ,f,north\n\"b,c.jpg\",40.5,M,\n"
    yield "labels", "lines", "FILE,Age,sex\r\n\r\na.jpg,1e3,1\r\n\"x\ny.jpg\",nan,0\r\n"
    file = 'model = "ensemble@0123abcd"\n'
    yield "settings", "thresholds", f'\0[[recognition]]\n{file}thresholds = "1e-2=0.31,1e-3=0.42"\n[[antispoof]]\n{file}spoof = 0.2\nlive = 0.8\n[[deepfake]]\n{file}real = 0.3\nfake = 0.7\nmeasured = "x"\n'
    lock = "version = 1\n" + (ROOT / "weights/weights.lock").read_text().split("[[network]]")[1].join(["[[network]]", ""])
    yield "settings", "weights", "\1" + lock
    yield "settings", "lock", "\2" + lock
    yield "settings", "manifest", "\3" + (ROOT / "models-src/mtcnn/manifest.toml").read_text()
    entry = 'name = "a"\nsource = "s"\nlicence = "MIT"\npulled = "2026-01-01"\n[[network.file]]\npath = "p"\nsha256 = "x"\nbytes = 1\npinned = true\nfrom = "u"\n'
    yield "settings", "sources", "\4version = 1\n[[network]]\n" + entry


def boxes():
    floats = lambda *values: struct.pack(f"<{len(values)}f", *values)
    for kind in range(0, 16, 2):
        yield f"kind_{kind:02}", bytes([0xFF, kind]) + floats(2, 3, 8, 9, 4, 5, 11, 5, 8, 8, 5, 12, 10, 12, 7, 12)
    nan, inf = float("nan"), float("inf")
    yield "odd", bytes([0x31, 0]) + floats(nan, inf, -inf, 1e30, 1e-30, -0.0)
    yield "thin", bytes([0x0F, 5]) + floats(0, 0, 1e-20, 3e38, 1e9, -1e9)


def archives(photo):
    yield "persons.zip", archive([("ann/1.jpg", photo[:200]), ("bob/", b""), ("bob/2.jpg", b"b" * 40)])
    yield "stored.zip", archive([("ann/1.jpg", b"one"), ("../../x", b"x"), ("/a/b", b"x"), ("__MACOSX/a/._1", b"x")], zipfile.ZIP_STORED)
    yield "zeros.zip", archive([("ann/0.jpg", bytes(5000)), ("ann/1.jpg", bytes(4000))])


def main():
    portrait, small = encoded(face(96), "JPEG", quality=60), encoded(face(40), "JPEG", quality=40)
    for name, content in pictures():
        save("image", name, content)
    other = Image.open(IMAGES / "portrait_2.jpg").convert("RGB").crop((100, 40, 400, 340)).resize((96, 96))
    for kind, photo in enumerate([portrait, encoded(other, "JPEG", quality=50), small, encoded(face(64), "WEBP", quality=40)]):
        save("faces", f"detector_{kind}", bytes([kind]) + photo)
        save("faces", f"sure_{kind}", bytes([kind | 4]) + photo)
    every = {
        "http": requests(small), "access": strangers(small), "multipart": forms(small), "live": messages(small),
        "onnx": graphs(), "safetensors": tensors(), "torch": states(), "tflite": [("model.tflite", lite())], "tfjs": js(),
        "wire": values(), "remote": remotes(), "crop": boxes(), "archive": archives(small),
        "package": [("wheel.zip", archive([(f"facenet_pytorch/data/{net}net.pt", b"x" * 50) for net in "pro"]))],
        "video": [("frames", b"P6\n2 1\n255\n123456P6 1 2 255 abcdef"), ("wide", b"P6\n100000 100000\n255\n")],
    }
    for target, seeds in every.items():
        for name, content in seeds:
            save(target, name, content)
    for target, name, text in words():
        save(target, name, text)


if __name__ == "__main__":
    main()
