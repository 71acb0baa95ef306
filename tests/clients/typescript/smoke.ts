// Registers, identifies and analyses with the generated types. FACESOCIAL_URL is the server, PHOTOS the folder of photos.
import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import createClient from "openapi-fetch"
import type { paths } from "./facesocial.js"

const { FACESOCIAL_URL: baseUrl, PHOTOS: photos } = process.env
assert(baseUrl && photos)
const client = createClient<paths>({ baseUrl })
const name = `client-ts-${process.pid}`

async function photo(file: string): Promise<Blob> {
  return new File([await readFile(join(photos as string, file))], file)
}

// The form that a body with files is sent as.
function bodySerializer(body: object): FormData {
  const form = new FormData()
  for (const [field, value] of Object.entries(body)) form.append(field, value instanceof Blob ? value : String(value))
  return form
}

const made = await client.POST("/api/v1/collections", { body: { name } })
assert.equal(made.data?.name, name)

const params = { path: { name } }
const person = { file: await photo("portrait.jpg"), external_id: "eileen", name: "Eileen" }
const enrolled = await client.POST("/api/v1/collections/{name}/faces", { params, body: person, bodySerializer })
console.log(`registered ${enrolled.data?.person?.name}: ${enrolled.data?.face.quality_score}`)

const identify = async (file: string) =>
  client.POST("/api/v1/collections/{name}/identify", { params, body: { file: await photo(file) }, bodySerializer })
const found = await identify("grey.jpg")
const match = found.data?.faces[0]?.matches[0]
assert(found.data && match && match.similarity >= found.data.threshold)
console.log(`identified ${match.person?.name}: ${match.similarity}`)

const refused = await identify("no_face.jpg")
console.log(`refused: ${refused.error?.code}`)

const group = { file: await photo("group.jpg"), face_service: "ensemble", detect_spoofing: true } as const
const analysis = await client.POST("/analyze/comprehensive", { body: group, bodySerializer })
const faces = analysis.data?.data.faces ?? []
for (const { antispoofing } of faces) assert(antispoofing && "decision" in antispoofing)
console.log(`analysed group.jpg: ${faces.length} faces`)

const deleted = await client.DELETE("/api/v1/collections/{name}", { params })
assert.equal(deleted.data?.faces, 1)
