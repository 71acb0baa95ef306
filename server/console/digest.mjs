// Writes into dist what the assets were built from: a digest of the sources, which a test of the server compares.
import { createHash } from "node:crypto"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"

// The same list stands in server/src/console/files.rs.
const FILES = ["docs.html", "index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts"]

const below = (folder) =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`
    return entry.isDirectory() ? below(path) : [path]
  })

const digest = createHash("sha256")
for (const path of [...FILES, ...below("src")].sort()) {
  // Names and lengths keep the bytes of one file from being taken for another's.
  const bytes = Buffer.from(readFileSync(path, "utf8").replaceAll("\r\n", "\n"))
  digest.update(`${path}\n${bytes.length}\n`)
  digest.update(bytes)
}
writeFileSync("dist/sources.sha256", digest.digest("hex") + "\n")
