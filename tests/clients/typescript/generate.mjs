// Writes the types of the API's document, which openapi-fetch asks by. `node generate.mjs DOCUMENT OUT`.
import { readFile, writeFile } from "node:fs/promises"
import openapiTS, { astToString } from "openapi-typescript"
import ts from "typescript"

const [document, out] = process.argv.slice(2)
const blob = ts.factory.createTypeReferenceNode("Blob")
const types = await openapiTS(JSON.parse(await readFile(document, "utf8")), {
  // A file is text to the generator unless told otherwise.
  transform: (schema) => (schema.format === "binary" ? blob : undefined),
})
await writeFile(out, astToString(types))
