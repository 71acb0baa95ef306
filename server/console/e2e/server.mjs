// A real `facesocial serve` on a free port, with a folder of its own for its data.
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

const SERVICES = ["mediapipe", "yolo", "mtcnn", "recognition", "antispoof", "gender_age", "deepfake"]
/** Networks of an unoptimised build on a busy machine. */
const PATIENCE_MS = 240_000

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** Starts a server; gives its address, what it wrote, and `stop`. */
export async function start(binary, weights, args) {
  const data = mkdtempSync(join(tmpdir(), "facesocial-console-"))
  const port = await freePort()
  const listen = SERVICES.map((name) => `${name}=127.0.0.1:0`).join(",")
  const all = ["serve", "--gateway-port", String(port), "--listen", listen, "--data-dir", data, "--weights", weights, ...args]
  const child = spawn(binary, all, { stdio: ["ignore", "ignore", "pipe"] })
  let written = ""
  child.stderr.on("data", (bytes) => (written += bytes))
  const exited = new Promise((resolve) => child.on("exit", resolve))
  const url = `http://127.0.0.1:${port}`
  const stop = async () => {
    child.kill("SIGTERM")
    await exited
    rmSync(data, { recursive: true, force: true })
  }
  const begun = Date.now()
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}:\n${written}`)
    const ready = await fetch(`${url}/readyz`).then((answer) => answer.ok, () => false)
    if (ready) return { url, stop, written: () => written }
    if (Date.now() - begun > PATIENCE_MS) {
      await stop()
      throw new Error(`the server did not become ready:\n${written}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}
