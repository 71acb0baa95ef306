// A browser that notes whatever should not happen: errors on the console, breaches of the policy, missing files.
import assert from "node:assert/strict"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createRequire } from "node:module"
import { chromium } from "playwright-core"

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")
const shots = new URL("./shots/", import.meta.url).pathname
export const images = new URL("../../../tests/images/", import.meta.url).pathname
export const image = (name) => join(images, name)

export async function launch() {
  mkdirSync(shots, { recursive: true })
  // What the camera sees: one photo again and again.
  const video = join(tmpdir(), `facesocial-camera-${process.pid}.mjpeg`)
  const frame = readFileSync(image("portrait.jpg"))
  writeFileSync(video, Buffer.concat([frame, frame, frame, frame]))
  return await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--use-fake-ui-for-media-stream",
      "--use-fake-device-for-media-stream",
      `--use-file-for-fake-video-capture=${video}`,
      // Pages that did not come from the server itself may open no connection to it otherwise.
      ...(process.env.CONSOLE_FROM_DISK ? ["--disable-features=LocalNetworkAccessChecks"] : []),
    ],
  })
}

const dist = new URL("../dist/", import.meta.url).pathname
const types = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml", txt: "text/plain" }

/** With CONSOLE_FROM_DISK set, pages come from dist under the server's policy: to try a change without building the server. */
async function fromDisk(context, base) {
  const headers = Object.fromEntries(["content-security-policy", "permissions-policy"].map((name) => [name, ""]))
  const { headers: sent } = await fetch(`${base}/console/`)
  for (const name of Object.keys(headers)) headers[name] = sent.get(name) ?? ""
  await context.route(/\/console(\/|$)/, (route) => {
    const path = new URL(route.request().url()).pathname.replace(/^\/console\/?/, "")
    const file = path.startsWith("assets/") ? path : "index.html"
    const body = readFileSync(dist + file)
    return route.fulfill({ body, contentType: types[file.split(".").pop()], headers })
  })
}

/** A page of its own session. `mistakes` fills with what should not happen. */
export async function open(browser, base, options = {}) {
  const context = await browser.newContext({ baseURL: base, viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", acceptDownloads: true, ...options })
  if (process.env.CONSOLE_FROM_DISK) await fromDisk(context, base)
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  const mistakes = []
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return
    // Refusals of the API are shown on the page; the browser notes them besides.
    if (/^Failed to load resource: the server responded with a status of 4/.test(message.text())) return
    mistakes.push(message.text())
  })
  page.on("pageerror", (error) => mistakes.push(String(error)))
  page.on("response", (answer) => {
    const own = new URL(answer.url()).pathname.startsWith("/console")
    if (own && answer.status() >= 400) mistakes.push(`${answer.status()} ${answer.url()}`)
  })
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url())
    if (origin !== base && !["blob:", "data:"].includes(protocol)) mistakes.push(`asked elsewhere: ${request.url()}`)
  })
  return { page, context, mistakes }
}

/** The page has no accessibility fault that axe finds and calls serious, and is no wider than the window. */
export async function looksRight(page, name) {
  const found = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`)
  const told = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`)
  assert.deepEqual(told, [], `axe on ${name}`)
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth])
  assert.ok(wide <= window, `${name} is ${wide} pixels wide in a window of ${window}`)
}

/** Pictures of the page as it stands, wide and narrow, light and dark, each looked at by axe. */
export async function shoot(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" })
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: width === 360 ? 740 : 900 })
      // Labels are placed anew for the new width.
      await page.waitForTimeout(150)
      await looksRight(page, `${name} ${colorScheme} ${width}`)
      await page.screenshot({ path: join(shots, `${name}-${colorScheme}-${width}.png`), fullPage: true })
    }
  }
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" })
  await page.setViewportSize({ width: 1280, height: 900 })
}
