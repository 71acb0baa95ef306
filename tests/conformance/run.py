"""Holds a running server against server/openapi.json with schemathesis: `cargo xtask conformance` says how.

Starts the server with an empty store (SQLite in a temporary folder, or the empty Postgres that DATABASE_URL names), makes an
account of each role, puts people and faces into the gallery, and asks in the name of each role and of nobody. Writes into the
folder --out: for each caller JUnit and JSON reports of schemathesis, the server's log, and summary.json.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENT = ROOT / "server/openapi.json"
SERVICES = ["mediapipe", "yolo", "mtcnn", "recognition", "antispoof", "gender_age", "deepfake"]
# The first one's cases reach the networks and the store; of the others it matters what they are kept from.
CALLERS = {
    "admin": {"phases": "examples,coverage,fuzzing,stateful", "examples": 25},
    "user": {"phases": "coverage,fuzzing,stateful", "examples": 8},
    "read-only": {"phases": "coverage,fuzzing", "examples": 8},
    "nobody": {"phases": "coverage,fuzzing", "examples": 8},
}
# Logins that the runs may end; one account may log in ten times within a quarter of an hour.
LEAVERS, LOGINS_EACH = 4, 9
PATIENCE = 300


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server with all services, an account `root`, and no limits of requests."""

    def __init__(self, program: pathlib.Path, folder: pathlib.Path, log: pathlib.Path):
        self.password = secrets.token_urlsafe(24)
        store = [] if os.environ.get("DATABASE_URL") else ["--data-dir", str(folder / "data")]
        create = [program, "admin", "create", "root", *store]
        subprocess.run(create, input=self.password, text=True, check=True, stdout=subprocess.DEVNULL)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [program, "serve", *store, "--weights", str(ROOT / "weights"), "--models-dir", str(folder / "none")]
        command += ["--gateway-port", str(port), "--rate-limit", "0", "--upload-rate-limit", "0", "--store-images"]
        command += ["--log-format", "json", *(f"--listen={service}=127.0.0.1:0" for service in SERVICES)]
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr)
        begun = time.monotonic()
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() - begun > PATIENCE:
                raise SystemExit(f"the server did not become ready; see {log}")
            time.sleep(0.2)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body=None, token=None, form=None):
        """The JSON of a successful answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None
        if form is not None:
            boundary = uuid.uuid4().hex
            data = b"".join(part(boundary, name, value) for name, value in form.items()) + f"--{boundary}--\r\n".encode()
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        elif body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read() or "null")

    def log_in(self, username: str, password: str) -> str:
        return self.ask("POST", "/api/v1/auth/login", {"username": username, "password": password})["access_token"]

    def stop(self) -> list:
        """Ends it in order, and gives what it logged as a failure of its own."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        bad = [line for line in lines if line["level"] == "ERROR"]
        text = self.log.read_text()
        if status != 0 or "panicked" in text:
            bad.append({"fields": {"message": f"exit status {status}" + (", a panic" if "panicked" in text else "")}})
        return bad


def part(boundary: str, name: str, value) -> bytes:
    file = "" if isinstance(value, str) else '; filename="x.jpg"'
    content = value.encode() if isinstance(value, str) else value
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"


def prepare(server: Server) -> dict:
    """Accounts, keys, and something to be found. Gives each caller's environment."""
    root = server.log_in("root", server.password)
    account = server.ask("GET", "/api/v1/account", token=root)
    kept = [account["id"]]

    def key(token: str) -> str:
        mine = server.ask("GET", "/api/v1/account", token=token)["permissions"]
        made = server.ask("POST", "/api/v1/keys", {"name": "conformance", "scopes": mine}, token)
        kept.append(made["id"])
        return made["key"]

    def user(username: str, role: str) -> tuple:
        password = secrets.token_urlsafe(24)
        body = {"username": username, "password": password, "role": role}
        kept.append(server.ask("POST", "/api/v1/users", body, root)["id"])
        return username, password

    tokens = {"admin": key(root), "user": key(server.log_in(*user("conformance-user", "user"))), "nobody": ""}
    # A key needs the permission to make keys; who has not logs in.
    tokens["read-only"] = server.log_in(*user("conformance-reader", "read-only"))
    leavers = [user(f"conformance-leaver-{n}", "user") for n in range(LEAVERS)]
    logins = [server.log_in(*leaver) for leaver in leavers for _ in range(LOGINS_EACH)]
    images = ROOT / "tests/images"
    for name, photo in (("eileen", "portrait.jpg"), ("grace", "portrait_2.jpg")):
        form = {"file": (images / photo).read_bytes(), "external_id": name}
        server.ask("POST", "/api/v1/collections/default/faces", token=tokens["admin"], form=form)
    form = {"file": (images / "group.jpg").read_bytes(), "store": "true", "collection": "default"}
    server.ask("POST", "/analyze/comprehensive", token=tokens["user"], form=form)
    server.ask("POST", "/api/v1/collections/default/jobs", {"kind": "group"}, tokens["user"])
    shared = {"CONFORMANCE_KEPT": ",".join(kept)}
    share = len(logins) // 2
    mine = {"admin": logins[:share], "user": logins[share:]}
    return {
        caller: {**shared, "CONFORMANCE_TOKEN": tokens[caller], "CONFORMANCE_LOGINS": ",".join(mine.get(caller, []))}
        for caller in CALLERS
    }


def held(server: Server, caller: str, environment: dict, out: pathlib.Path, more: list, seed: int, scale: float) -> dict:
    """Runs schemathesis in the name of one caller, and gives what it found."""
    how = CALLERS[caller]
    reports = {kind: out / f"{caller}.{ending}" for kind, ending in (("json", "json"), ("junit", "xml"), ("ndjson", "ndjson"))}
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", str(DOCUMENT), "--url", server.url, "--seed", str(seed), "--phases", how["phases"]]
    command += ["--max-examples", str(max(1, round(how["examples"] * scale))), "--no-color"]
    command += ["--report", ",".join(reports), *(f"--report-{kind}-path={path}" for kind, path in reports.items()), *more]
    told = {**os.environ, **environment, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    for path in reports.values():
        path.unlink(missing_ok=True)
    begun = time.monotonic()
    with (out / f"{caller}.txt").open("wb") as text:
        status = subprocess.run(command, env=told, stdout=text, stderr=subprocess.STDOUT, check=False).returncode
    if not (reports["json"].exists() and reports["ndjson"].exists()):
        raise SystemExit(f"schemathesis failed; see {out / caller}.txt")
    report = json.loads(reports["json"].read_text())
    checks = collections.Counter()
    for match in re.finditer(r'"name": ?"([a-z_]+)", ?"status": ?"(success|failure)"', reports["ndjson"].read_text()):
        checks[match.group(1)] += 1
    reports["ndjson"].unlink()
    return {
        "status": status,
        "operations": report["operations"]["tested"],
        "cases": report["test_cases"]["generated"],
        "failures": report["test_cases"]["unique_failures"],
        "errors": report["test_cases"]["errored"],
        "checks": sum(checks.values()),
        "checks_by_name": dict(sorted(checks.items())),
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, required=True, help="the binary facesocial")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the reports")
    parser.add_argument("--callers", default=",".join(CALLERS), help="in whose name, separated by commas")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same cases")
    parser.add_argument("--scale", type=float, default=1.0, help="how many examples, against the usual number")
    parser.add_argument("more", nargs="*", help="further arguments of schemathesis, after --")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    store = "postgres" if os.environ.get("DATABASE_URL") else "sqlite"
    summary, begun = {"store": store, "seed": options.seed, "callers": {}}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(options.program.resolve(), pathlib.Path(folder), options.out / "server.log")
        try:
            environments = prepare(server)
            for caller in options.callers.split(","):
                found = held(server, caller, environments[caller], options.out, options.more, options.seed, options.scale)
                summary["callers"][caller] = found
                line = "{operations} operations, {cases} cases, {checks} checks, {failures} failures, {seconds} s"
                print(f"{store}, {caller}: " + line.format(**found), flush=True)
        finally:
            bad = server.stop()
    summary["log_errors"] = [line.get("fields", {}).get("message") or str(line) for line in bad]
    summary["seconds"] = round(time.monotonic() - begun, 1)
    for name in ("cases", "checks", "failures", "errors"):
        summary[name] = sum(found[name] for found in summary["callers"].values())
    (options.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print("{store}: {cases} cases, {checks} checks, {failures} failures, {seconds} s".format(**summary))
    for message in summary["log_errors"]:
        print(f"the server's log: {message}")
    passed = not summary["log_errors"] and all(found["status"] == 0 for found in summary["callers"].values())
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
