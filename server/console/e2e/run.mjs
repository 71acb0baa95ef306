// Runs the tests in a headless Chromium against a server: `FACESOCIAL_BIN=path npm run e2e`.
import { existsSync } from "node:fs"
import { spawnSync } from "node:child_process"

const known = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
const chromium = known.find((path) => path && existsSync(path))
if (!chromium) {
  console.error("==> console in a browser: NOT CHECKED, no Chromium was found. Install it (apt-get install chromium) or name it in CHROMIUM.")
  process.exit(0)
}
const binary = process.env.FACESOCIAL_BIN
if (!binary || !existsSync(binary)) {
  console.error("FACESOCIAL_BIN does not name the server's binary; `cargo xtask console` builds it and does")
  process.exit(1)
}
const args = ["--test", "--test-concurrency=1", "--test-reporter=spec", ...process.argv.slice(2), "e2e/console.test.mjs"]
const { status } = spawnSync(process.execPath, args, { stdio: "inherit", env: { ...process.env, CHROMIUM: chromium } })
process.exit(status ?? 1)
