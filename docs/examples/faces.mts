// Registers a face, identifies it in another photo, analyses a group photo: Node.js 20 or later, its own fetch alone.
// From the top of the repository:
//
//   facesocial serve --auth off &
//   node docs/examples/faces.mts                  (Node.js 22.18 or later)
//   npx tsx docs/examples/faces.mts               (Node.js 20)
//
// FACESOCIAL_URL is the server (http://localhost:8000), FACESOCIAL_KEY an API key of an operator where the server wants one,
// PHOTOS the folder of the photos (tests/images).

import { readFile } from "node:fs/promises"
import { join } from "node:path"

const url = process.env.FACESOCIAL_URL ?? "http://localhost:8000"
const key = process.env.FACESOCIAL_KEY
const photos = process.env.PHOTOS ?? "tests/images"

// What is used of the answers; `tests/clients` makes types of all of them.
type Match = { similarity: number; person: { name: string } | null }
type Enrolled = { person: { name: string }; face: { quality_score: number } }
type Identified = { threshold: number; faces: { matches: Match[] }[] }
type Missing = { status: "unavailable" | "error"; reason: string }
type Face = {
  index: number
  gender_age: { age: number } | Missing
  antispoofing: { decision: string } | Missing
  deepfake: { decision: string } | Missing
}
type Analysis = { data: { faces: Face[] } }

/** A problem document: `code` is for programs, the message for people. */
class Refused extends Error {
  readonly code: string

  constructor(code: string, detail: string) {
    super(`${code}: ${detail}`)
    this.code = code
  }
}

async function ask<T>(method: string, path: string, body?: FormData | object): Promise<T> {
  const headers: Record<string, string> = key ? { "X-API-Key": key } : {}
  let sent: FormData | string | undefined
  if (body instanceof FormData) {
    sent = body
  } else if (body) {
    sent = JSON.stringify(body)
    headers["Content-Type"] = "application/json"
  }
  const answer = await fetch(url + path, { method, headers, body: sent })
  const value: unknown = await answer.json()
  if (!answer.ok) {
    const { code, detail } = value as { code: string; detail: string }
    throw new Refused(code, detail)
  }
  return value as T
}

/** A form with the photo in the field `file`. */
async function photo(name: string, fields: Record<string, string> = {}): Promise<FormData> {
  const form = new FormData()
  form.append("file", new Blob([await readFile(join(photos, name))]), name)
  for (const [field, value] of Object.entries(fields)) form.append(field, value)
  return form
}

const name = `example-ts-${process.pid}`
const crew = `/api/v1/collections/${name}`
await ask("POST", "/api/v1/collections", { name })
try {
  const person = await photo("portrait.jpg", { external_id: "eileen", name: "Eileen Collins" })
  const enrolled = await ask<Enrolled>("POST", `${crew}/faces`, person)
  console.log(`registered ${enrolled.person.name}, quality ${enrolled.face.quality_score}`)

  const found = await ask<Identified>("POST", `${crew}/identify`, await photo("grey.jpg"))
  for (const { person, similarity } of found.faces[0]?.matches ?? []) {
    console.log(`identified ${person?.name}: ${similarity}, needed ${found.threshold}`)
  }

  try {
    await ask("POST", `${crew}/identify`, await photo("no_face.jpg"))
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused
    console.log(`refused: ${refused.code}`)
  }

  const wanted = { predict_gender_age: "true", detect_spoofing: "true", detect_deepfake: "true" }
  const form = await photo("group.jpg", { face_service: "ensemble", ...wanted })
  const { data } = await ask<Analysis>("POST", "/analyze/comprehensive", form)
  console.log(`analysed group.jpg: ${data.faces.length} faces`)
  for (const { index, gender_age: age, antispoofing: live, deepfake: fake } of data.faces) {
    // A part that is missing has a status and a reason in place of the answer.
    const told = [
      `age ${"age" in age ? age.age : age.reason}`,
      `liveness ${"decision" in live ? live.decision : live.reason}`,
      `authenticity ${"decision" in fake ? fake.decision : fake.reason}`,
    ]
    console.log(`  face ${index}, ${told.join(", ")}`)
  }
} finally {
  await ask("DELETE", crew)
}
