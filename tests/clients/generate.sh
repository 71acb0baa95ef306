#!/bin/sh
# Makes typed clients of server/openapi.json, in target/clients:
#
#   tests/clients/generate.sh python          facesocial_client, a package for httpx
#   tests/clients/generate.sh typescript      facesocial.d.ts, types for openapi-fetch
#
# The generators come from PyPI and npm, in the versions pinned beside this file, once. With --offline nothing is fetched, and
# where a generator is not there yet the exit code is 3.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
document=$here/../../server/openapi.json
out=${CLIENTS_DIR:-$here/../../target/clients}

offline=false
if [ "${1:-}" = --offline ]; then
  offline=true
  shift
fi

# Whether the generator that FILE pins is in the folder DIR already: fetched FILE DIR
fetched() {
  cmp -s "$1" "$2/pinned" && return
  if $offline; then
    echo "the generator is not in $2; tests/clients/generate.sh brings it (network)" >&2
    exit 3
  fi
  rm -rf "$2"
  mkdir -p "$2"
  return 1
}

python() {
  tools=$out/python/tools
  if ! fetched "$here/python/requirements.txt" "$tools"; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/python/requirements.txt"
    cp "$here/python/requirements.txt" "$tools/pinned"
  fi
  rm -rf "$out/python/facesocial_client"
  # ruff, which formats what was made, is looked for in the path. A part of the API that cannot be put into types is an error.
  PATH=$tools/bin:$PATH "$tools/bin/openapi-python-client" generate --path "$document" --meta none --fail-on-warning \
    --config "$here/python/generator.yaml" --output-path "$out/python/facesocial_client"
  cp "$here/python/smoke.py" "$out/python"
}

typescript() {
  if ! fetched "$here/typescript/package-lock.json" "$out/typescript"; then
    cp "$here/typescript/package.json" "$here/typescript/package-lock.json" "$out/typescript"
    (cd "$out/typescript" && npm ci --silent --no-audit --no-fund)
    cp "$here/typescript/package-lock.json" "$out/typescript/pinned"
  fi
  cp "$here/typescript/generate.mjs" "$here/typescript/smoke.ts" "$here/typescript/tsconfig.json" "$out/typescript"
  (cd "$out/typescript" && node generate.mjs "$document" facesocial.d.ts && node_modules/.bin/tsc)
}

case ${1:-} in
python | typescript) "$1" ;;
*)
  echo "usage: $0 [--offline] python|typescript" >&2
  exit 2
  ;;
esac
