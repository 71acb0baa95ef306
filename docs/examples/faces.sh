#!/bin/sh
# Registers a face, identifies it in another photo, analyses a group photo: curl alone. From the top of the repository:
#
#   facesocial serve --auth off &
#   docs/examples/faces.sh
#
# FACESOCIAL_URL is the server (http://localhost:8000), FACESOCIAL_KEY an API key of an operator where the server wants one,
# PHOTOS the folder of the photos (tests/images).
set -eu
url=${FACESOCIAL_URL:-http://localhost:8000}
photos=${PHOTOS:-tests/images}
crew=$url/api/v1/collections/example-sh-$$

# One request; an answer of 400 and more ends the script, after it was shown.
ask() {
  curl --silent --show-error --fail-with-body ${FACESOCIAL_KEY:+--header "X-API-Key: $FACESOCIAL_KEY"} "$@"
  echo
}

ask --header "Content-Type: application/json" --data "{\"name\": \"${crew##*/}\"}" "$url/api/v1/collections" >/dev/null
# Whatever happens, nothing stays behind.
trap 'ask --request DELETE "$crew" >/dev/null' EXIT

echo "== register"
ask --form "file=@$photos/portrait.jpg" --form external_id=eileen --form "name=Eileen Collins" "$crew/faces"

echo "== identify"
ask --form "file=@$photos/grey.jpg" "$crew/identify"

echo "== analyze"
ask --form "file=@$photos/group.jpg" --form face_service=ensemble --form predict_gender_age=true \
  --form detect_spoofing=true --form detect_deepfake=true "$url/analyze/comprehensive"
