import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"
import { readFileSync } from "node:fs"
import { image, launch, looksRight, open, shoot } from "./browser.mjs"
import { start } from "./server.mjs"
import { zip } from "./zip.mjs"

const binary = process.env.FACESOCIAL_BIN
const weights = new URL("../../../weights", import.meta.url).pathname
const PASSWORD = "correct horse battery"

let browser
before(async () => {
  browser = await launch()
})
after(async () => {
  await browser?.close()
})

/** Chooses a file in the first place for photos of `where`. */
const give = (where, name) => where.locator('input[type="file"]').first().setInputFiles(image(name))
const button = (where, name) => where.getByRole("button", { name, exact: true })
const heading = (where, name) => where.getByRole("heading", { name, exact: true })

describe("without authentication", () => {
  let server, page, mistakes
  before(async () => {
    server = await start(binary, weights, ["--auth", "off", "--store-images"])
    const opened = await open(browser, server.url)
    page = opened.page
    mistakes = opened.mistakes
  })
  after(async () => {
    await server?.stop()
  })
  const visit = async (path, title) => {
    await page.goto(`/console/${path}`)
    await heading(page, title).waitFor()
  }
  const clean = () => assert.deepEqual(mistakes.splice(0), [])

  test("a photo becomes an answer", async () => {
    await page.goto("/console")
    await heading(page, "Analyse a photo").waitFor()
    assert.equal(new URL(page.url()).pathname, "/console/analyse")
    assert.equal(await page.getByLabel("Password").count(), 0, "no log-in is asked")
    await shoot(page, "analyse-empty")
    await give(page, "portrait.jpg")
    await heading(page, "One face").waitFor()
    const face = page.locator(".card.face")
    assert.equal(await face.count(), 1)
    const text = await face.innerText()
    for (const word of ["Age", "years", "Gender", "female", "Liveness", "Authenticity", "Quality"]) assert.ok(text.includes(word), `${word} in ${text}`)
    assert.equal(await page.locator(".overlay .box").count(), 1)
    assert.ok((await page.locator(".overlay circle").count()) >= 5)
    // The box lies on the face: its middle is where the test image has it.
    const [box, picture] = [await page.locator(".overlay .box").boundingBox(), await page.locator(".picture img").boundingBox()]
    const [x, y] = [(box.x + box.width / 2 - picture.x) / picture.width, (box.y + box.height / 2 - picture.y) / picture.height]
    assert.ok(Math.abs(x - 0.43) < 0.1 && Math.abs(y - 0.24) < 0.12, `${x}, ${y}`)
    await shoot(page, "analyse-one")
    await button(page, "JSON").click()
    const json = JSON.parse(await page.locator("pre.raw").innerText())
    assert.equal(json.data.total_faces_detected, 1)
    await looksRight(page, "analyse JSON")
    clean()
  })

  test("five faces have five labels that cover no other", async () => {
    await visit("analyse", "Analyse a photo")
    await give(page, "group.jpg")
    await heading(page, "5 faces").waitFor()
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 900 })
      await page.waitForTimeout(200)
      const labels = await page.locator(".overlay .label").evaluateAll((all) => all.map((one) => one.getBoundingClientRect().toJSON()))
      assert.equal(labels.length, 5)
      for (const [i, a] of labels.entries()) {
        for (const b of labels.slice(i + 1)) {
          const apart = a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 1 || b.bottom <= a.top + 1
          assert.ok(apart, `${JSON.stringify(a)} and ${JSON.stringify(b)} at ${width}`)
        }
      }
    }
    await shoot(page, "analyse-group")
    await button(page, "Face 2").click()
    assert.equal(await page.locator(".card.face.chosen").count(), 1)
    assert.equal(await page.locator(".overlay .mark.chosen").count(), 1)
    await visit("analyse", "Analyse a photo")
    await give(page, "no_face.jpg")
    await heading(page, "No faces").waitFor()
    await page.getByText("No face was found.").waitFor()
    clean()
  })

  test("a refusal is told in the API's words, with what to do", async () => {
    await visit("analyse", "Analyse a photo")
    await page.locator('input[type="file"]').setInputFiles({ name: "notes.jpg", mimeType: "image/jpeg", buffer: Buffer.from("no image at all") })
    const alert = page.getByRole("alert")
    await alert.waitFor()
    assert.match(await alert.innerText(), /Choose a JPEG, PNG, WebP, BMP, GIF or TIFF/)
    await shoot(page, "error")
    // The page goes on: the next photo is answered.
    await give(page, "portrait.jpg")
    await heading(page, "One face").waitFor()
    assert.equal(await alert.count(), 0)
    clean()
  })

  test("a photo is pasted and dropped", async () => {
    for (const way of ["paste", "drop"]) {
      await visit("analyse", "Analyse a photo")
      const bytes = readFileSync(image("portrait.jpg")).toString("base64")
      await page.evaluate(
        ([way, bytes]) => {
          const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "photo.jpg", { type: "image/jpeg" })
          const data = new DataTransfer()
          data.items.add(file)
          if (way === "paste") dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }))
          else document.querySelector(".drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }))
        },
        [way, bytes],
      )
      await heading(page, "One face").waitFor()
    }
    clean()
  })

  test("somebody is enrolled and identified", async () => {
    await visit("gallery", "Gallery")
    await button(page, "New collection").click()
    await page.getByLabel("Name").fill("crew")
    await page.getByLabel("Description").fill("Astronauts and admirals")
    await button(page, "Make it").click()
    await page.getByRole("link", { name: "crew", exact: true }).click()
    await heading(page, "crew").waitFor()
    await page.getByText("There is nobody here yet.").waitFor()

    await button(page, "Enrol a face").click()
    const dialog = page.getByRole("dialog")
    await give(dialog, "portrait.jpg")
    await dialog.getByLabel("Name").fill("Eileen Collins")
    await dialog.getByLabel("External id").fill("eileen")
    await shoot(page, "enrol")
    await button(dialog, "Enrol").click()
    await dialog.getByText("who is new here").waitFor()

    // A photo that is no good says why, and can be enrolled all the same.
    await button(dialog, "Enrol another photo").click()
    await give(dialog, "group.jpg")
    await dialog.getByLabel("Name").fill("Somebody")
    await button(dialog, "Enrol").click()
    await dialog.getByRole("group", { name: "Which face" }).waitFor()
    assert.equal(await dialog.locator(".overlay .box").count(), 5)
    await shoot(page, "enrol-several")
    await button(dialog, "Face 1").click()
    const outcome = dialog.getByText(/who is new here|Enrol it all the same/)
    await outcome.waitFor()
    if (await button(dialog, "Enrol it all the same").count()) {
      assert.ok((await dialog.getByRole("alert").locator("li").count()) >= 1, "reasons are told")
      await shoot(page, "enrol-low-quality")
      await button(dialog, "Enrol it all the same").click()
      await dialog.getByText("who is new here").waitFor()
    }
    await button(dialog, "Done").click()

    await give2(page, "portrait_2.jpg", "Grace Hopper", "grace")
    await page.getByRole("link", { name: "Grace Hopper" }).waitFor()
    await shoot(page, "collection")
    await page.getByLabel("Search persons").fill("eil")
    await page.getByRole("link", { name: "Grace Hopper" }).waitFor({ state: "detached" })
    assert.equal(await page.locator("tbody tr").count(), 1)
    await page.getByLabel("Search persons").fill("nobody of that name")
    await page.getByText("Nobody has a name like that.").waitFor()
    await page.getByLabel("Search persons").fill("")

    await button(page, "Identify a photo").click()
    await give(dialog, "grey.jpg")
    await dialog.getByRole("link", { name: "Eileen Collins" }).waitFor()
    await shoot(page, "identify")
    await button(dialog, "Close").click()

    await page.getByRole("link", { name: "Eileen Collins" }).click()
    await heading(page, "Eileen Collins").waitFor()
    await page.locator("img.crop").waitFor()
    await shoot(page, "person")
    clean()
  })

  /** Enrols on the page of a collection. */
  async function give2(page, photo, name, id) {
    await button(page, "Enrol a face").click()
    const dialog = page.getByRole("dialog")
    await give(dialog, photo)
    await dialog.getByLabel("Name").fill(name)
    await dialog.getByLabel("External id").fill(id)
    await button(dialog, "Enrol").click()
    await dialog.getByText("who is new here").waitFor()
    await button(dialog, "Done").click()
  }

  test("an analysis names who is known, down to the similarity that is asked for", async () => {
    await visit("analyse", "Analyse a photo")
    await page.locator("summary").click()
    await page.getByLabel("Identify among").selectOption("crew")
    await give(page, "grey.jpg")
    await page.locator(".card.face").getByText("Eileen Collins").waitFor()
    assert.match(await page.locator(".overlay").innerHTML(), /Eileen Collins/)
    await shoot(page, "analyse-known")
    const slider = page.getByLabel("Least similarity")
    await slider.fill("1")
    await page.locator(".card.face").getByText("nobody known").waitFor()
    await slider.fill("0.05")
    await page.locator(".card.face").getByText("Eileen Collins").waitFor()
    clean()
  })

  test("two photos are compared", async () => {
    await visit("compare", "Compare two faces")
    await shoot(page, "compare-empty")
    await page.locator('input[type="file"]').nth(0).setInputFiles(image("portrait.jpg"))
    await page.locator('input[type="file"]').nth(1).setInputFiles(image("grey.jpg"))
    await page.getByText("The same person", { exact: true }).waitFor()
    assert.equal(await page.locator(".verdict canvas").count(), 2)
    await shoot(page, "compare")
    await page.locator('input[type="file"]').nth(1).setInputFiles(image("portrait_2.jpg"))
    await page.getByText("Two persons", { exact: true }).waitFor()
    await page.locator('input[type="file"]').nth(1).setInputFiles(image("no_face.jpg"))
    await page.getByRole("alert").waitFor()
    clean()
  })

  test("the camera gives a photo, and frames to follow", async () => {
    await visit("analyse", "Analyse a photo")
    await button(page, "Use the camera").click()
    await button(page, "Take the photo").click()
    await heading(page, "One face").waitFor()

    await visit("live", "Live")
    await shoot(page, "live-off")
    await page.getByLabel("Identify among").selectOption("crew")
    await button(page, "Start the camera").click()
    await page.locator(".overlay .box").waitFor()
    await page.locator("dd", { hasText: "Eileen Collins" }).waitFor()
    await page.locator(".card.face .badge").filter({ hasText: /^(live|attack|uncertain)$/ }).waitFor()
    await shoot(page, "live")
    await button(page, "Stop").click()
    await button(page, "Start the camera").waitFor()
    assert.equal(await page.getByRole("alert").count(), 0)
    clean()
  })

  test("faces of nobody known are grouped and named", async () => {
    await visit("gallery/crew/unknown", "Faces of nobody known")
    const dialog = page.getByRole("dialog")
    // Three photos of one person, in files of different bytes.
    for (const name of ["portrait_2.jpg", "rotated_exif_3.jpg", "rotated_exif_6.jpg", "rotated_exif_8.jpg"]) {
      await button(page, "Add a face").click()
      await give(dialog, name)
      await dialog.getByLabel("Nobody known").check()
      await button(dialog, "Enrol").click()
      const done = dialog.getByText("kept as one of nobody known")
      await dialog.getByText(/kept as one of nobody known|Enrol it all the same|enrolled in the collection already/).first().waitFor()
      if (await button(dialog, "Enrol it all the same").count()) {
        await button(dialog, "Enrol it all the same").click()
        await done.waitFor()
      }
      await button(dialog, (await done.count()) > 0 ? "Done" : "Cancel").click()
    }
    await page.getByLabel("Least faces around the middle of a group").fill("2")
    await button(page, "Find groups").click()
    await heading(page, "1 group").waitFor()
    await page.locator("article img.crop").first().waitFor()
    await shoot(page, "unknown")
    await button(page, "Give a name to group 1").click()
    await dialog.getByLabel("Name").fill("The astronaut")
    await button(dialog, "Save").click()
    await dialog.waitFor({ state: "detached" })
    await page.getByRole("navigation", { name: "Above" }).getByRole("link", { name: "crew" }).click()
    await page.getByRole("link", { name: "The astronaut" }).waitFor()
    clean()
  })

  test("jobs are started, followed and read", async () => {
    await visit("jobs", "Jobs")
    await button(page, "Start a job").click()
    const dialog = page.getByRole("dialog")
    await shoot(page, "job-start")
    const archive = zip(["portrait.jpg", "group.jpg"].map((name) => [name, readFileSync(image(name))]))
    await dialog.getByLabel("ZIP archive").setInputFiles({ name: "photos.zip", mimeType: "application/zip", buffer: archive })
    await button(dialog, "Start").click()
    await dialog.waitFor({ state: "detached" })
    const row = page.locator("tbody tr", { hasText: "Analyse photos" })
    await row.getByText("completed").waitFor()
    await shoot(page, "jobs")
    await row.getByRole("link").click()
    const [download] = await Promise.all([page.waitForEvent("download"), button(page, "Save the results").click()])
    const lines = readFileSync(await download.path(), "utf8").trim().split("\n").map((line) => JSON.parse(line))
    assert.equal(lines.length, 2)
    assert.ok(lines.every((line) => line.status === "done"), JSON.stringify(lines))
    await shoot(page, "job")
    clean()
  })

  test("networks are unloaded, loaded and pinned", async () => {
    await visit("models", "Models")
    const row = page.locator(".models > li", { hasText: "yolov10n-face" }).first()
    await row.waitFor()
    await shoot(page, "models")
    await row.getByRole("button", { name: /^Unload/ }).click()
    await row.getByText("unloaded", { exact: true }).waitFor()
    await row.getByRole("button", { name: /^Load/ }).click()
    await row.getByText("loaded", { exact: true }).waitFor()
    await row.getByRole("button", { name: /^Pin/ }).click()
    await row.getByText("pinned", { exact: true }).waitFor()
    await row.getByRole("button", { name: /^Unpin/ }).click()
    await button(page, "Change the budget of YOLO detection").click()
    const dialog = page.getByRole("dialog")
    await dialog.getByLabel("MB that its networks may hold").fill("1")
    await button(dialog, "Save").click()
    await dialog.getByRole("alert").waitFor()
    await dialog.getByLabel("MB that its networks may hold").fill("700")
    await button(dialog, "Save").click()
    await page.getByText(/of 700 MB/).waitFor()
    await visit("health", "Health")
    await page.locator(".cards > li").nth(6).waitFor()
    assert.equal(await page.locator(".cards > li").count(), 7)
    await shoot(page, "health")
    clean()
  })

  test("a person is forgotten after asking", async () => {
    await visit("gallery/crew", "crew")
    await page.getByRole("link", { name: "Grace Hopper" }).click()
    await heading(page, "Grace Hopper").waitFor()
    await button(page, "Forget this person").click()
    const dialog = page.getByRole("dialog")
    await shoot(page, "forget")
    await button(dialog, "Keep").click()
    await button(page, "Forget this person").click()
    await button(dialog, "Forget").click()
    await heading(page, "crew").waitFor()
    await page.getByRole("link", { name: "Eileen Collins" }).waitFor()
    assert.equal(await page.getByRole("link", { name: "Grace Hopper" }).count(), 0)
    await visit("gallery", "Gallery")
    await shoot(page, "gallery")
    clean()
  })

  test("everything is reached by the keyboard, and where it is can be seen", async () => {
    await visit("analyse", "Analyse a photo")
    await page.keyboard.press("Tab")
    assert.equal(await page.evaluate(() => document.activeElement?.textContent?.trim()), "Skip to the page")
    await page.keyboard.press("Tab")
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle)
    assert.equal(outline, "solid")
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Analyse")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await heading(page, "Compare two faces").waitFor()
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Compare two faces", "the new page's heading has the focus")
    clean()
  })

  test("the colours follow the system until somebody chooses", async () => {
    await page.emulateMedia({ colorScheme: "dark" })
    await visit("health", "Health")
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
    const dark = await ground()
    await button(page, "Colours: as the system").click()
    assert.equal(await ground(), dark)
    await button(page, "Colours: dark").click()
    assert.notEqual(await ground(), dark)
    await page.reload()
    await button(page, "Colours: light").click()
    assert.equal(await ground(), dark)
    await page.emulateMedia({ colorScheme: "light" })
    clean()
  })

  test("whoever is enrolled under a second name is noticed", async () => {
    await visit("gallery", "Gallery")
    await button(page, "New collection").click()
    await page.getByLabel("Name").fill("twice")
    await button(page, "Make it").click()
    await page.getByRole("link", { name: "twice", exact: true }).click()
    await heading(page, "twice").waitFor()
    await button(page, "Enrol a face").click()
    const dialog = page.getByRole("dialog")
    await give(dialog, "portrait.jpg")
    await dialog.getByLabel("Name").fill("Eileen Collins")
    await dialog.getByLabel("External id").fill("eileen")
    await button(dialog, "Enrol").click()
    await dialog.getByText("who is new here").waitFor()
    assert.equal(await dialog.getByText("Is somebody here twice?").count(), 0)
    await button(dialog, "Enrol another photo").click()
    await give(dialog, "grey.jpg")
    await dialog.getByLabel("Name").fill("Ann")
    await dialog.getByLabel("External id").fill("ann")
    await button(dialog, "Enrol").click()
    await dialog.getByText("Is somebody here twice?").waitFor()
    await dialog.getByRole("link", { name: "Eileen Collins" }).waitFor()
    await shoot(page, "enrol-twice")
    await button(dialog, "Done").click()
    clean()
  })

  test("an address that is none says so, and the API document is shown", async () => {
    await visit("no/such/page", "Not here")
    await looksRight(page, "not here")
    clean()
    await page.goto("/docs")
    await page.getByText("FaceSocial", { exact: false }).first().waitFor()
    await page.locator(".opblock-tag").first().waitFor()
    await page.screenshot({ path: new URL("./shots/docs.png", import.meta.url).pathname })
    clean()
  })
})

describe("with accounts", () => {
  let server, page, mistakes
  before(async () => {
    server = await start(binary, weights, [])
    const opened = await open(browser, server.url)
    page = opened.page
    mistakes = opened.mistakes
  })
  after(async () => {
    await server?.stop()
  })
  const clean = () => assert.deepEqual(mistakes.splice(0), [])

  const logIn = async (name, password) => {
    await page.getByLabel("User name or email").fill(name)
    await page.getByLabel("Password").fill(password)
    await button(page, "Log in").click()
  }

  test("the first account is made with the token that was printed", async () => {
    await page.goto("/console/jobs")
    await heading(page, "The first account").waitFor()
    await shoot(page, "setup")
    const token = server.written().match(/serves once:\s+(\S+)/)[1]
    await page.getByLabel("Token").fill("not the token")
    await page.getByLabel("User name").fill("ann")
    await page.getByLabel("Password").fill(PASSWORD)
    await button(page, "Make the account").click()
    await page.getByRole("alert").waitFor()
    await page.getByLabel("Token").fill(token)
    await button(page, "Make the account").click()
    await heading(page, "Jobs").waitFor()
    clean()
  })

  test("a login lasts over a reload and ends on logging out", async () => {
    await page.reload()
    await heading(page, "Jobs").waitFor()
    assert.equal(await page.evaluate(() => sessionStorage.length), 0, "nothing is kept while the page is open")
    await button(page, "Log out").click()
    await heading(page, "Log in").waitFor()
    await page.reload()
    await heading(page, "Log in").waitFor()
    await logIn("ann", "wrong password here")
    assert.match(await page.getByRole("alert").innerText(), /user name or the password is wrong/i)
    await shoot(page, "login")
    await logIn("ann", PASSWORD)
    await heading(page, "Jobs").waitFor()
    clean()
  })

  test("an access token that has ended is renewed unseen", async () => {
    let refused = 0
    await page.route("**/api/v1/keys*", async (route) => {
      if (refused++ > 0) return route.continue()
      const body = JSON.stringify({ code: "UNAUTHENTICATED", title: "x", detail: "the token has expired", status: 401 })
      await route.fulfill({ status: 401, contentType: "application/problem+json", body })
    })
    await page.getByRole("link", { name: "Keys", exact: true }).click()
    await page.getByText("There is no key yet.").waitFor()
    assert.equal(refused, 2)
    await page.unroute("**/api/v1/keys*")
    clean()
  })

  test("a key is shown once and revoked", async () => {
    await page.getByRole("link", { name: "Keys", exact: true }).click()
    await button(page, "New key").click()
    const dialog = page.getByRole("dialog")
    await dialog.getByLabel("What it is for").fill("door camera")
    await dialog.getByLabel("search", { exact: true }).check()
    await shoot(page, "key-new")
    await button(dialog, "Make the key").click()
    const key = (await dialog.locator(".secret code").innerText()).trim()
    assert.match(key, /^fsk_/)
    const asked = () => fetch(`${server.url}/api/v1/collections`, { headers: { "x-api-key": key } })
    assert.equal((await asked()).status, 403, "the key has the scopes that were chosen and no other")
    const identify = await fetch(`${server.url}/api/v1/collections/default/identify`, { method: "POST", headers: { "x-api-key": key } })
    assert.notEqual(identify.status, 403)
    await button(dialog, "Done").click()
    await page.getByText("door camera").waitFor()
    assert.ok(!(await page.content()).includes(key), "it is not shown again")
    await shoot(page, "keys")
    await button(page, "Revoke door camera").click()
    await button(dialog, "Revoke the key").click()
    await page.getByText("revoked", { exact: true }).waitFor()
    assert.equal((await asked()).status, 401)
    clean()
  })

  test("what a role may not do is not offered", async () => {
    await page.getByRole("link", { name: "Users", exact: true }).click()
    await heading(page, "Users").waitFor()
    await button(page, "New account").click()
    const dialog = page.getByRole("dialog")
    await dialog.getByLabel("User name").fill("bob")
    await dialog.getByLabel("Password").fill(PASSWORD)
    await dialog.getByLabel("Role").selectOption("read-only")
    await button(dialog, "Make it").click()
    await page.getByRole("cell", { name: "bob" }).first().waitFor()
    await shoot(page, "users")
    await page.getByRole("link", { name: /^ann/ }).click()
    await heading(page, "ann").waitFor()
    await shoot(page, "account")
    await button(page, "Log out").click()
    await logIn("bob", PASSWORD)
    await heading(page, "ann").waitFor({ state: "detached" })
    const menu = page.getByRole("navigation", { name: "Pages" })
    await menu.getByRole("link", { name: "Gallery" }).click()
    await heading(page, "Gallery").waitFor()
    assert.deepEqual(await menu.getByRole("link").allInnerTexts(), ["Analyse", "Compare", "Live", "Gallery", "Health"])
    assert.equal(await button(page, "New collection").count(), 0)
    await page.getByRole("link", { name: "default", exact: true }).click()
    await heading(page, "default").waitFor()
    assert.equal(await button(page, "Enrol a face").count(), 0)
    assert.equal(await button(page, "Identify a photo").count(), 1)
    await page.goto("/console/users")
    await page.getByText("Your account may not see this page.").waitFor()
    clean()
  })

  test("the live connection is shown who asks", async () => {
    await page.getByRole("link", { name: "Live", exact: true }).click()
    await button(page, "Start the camera").click()
    await page.locator(".overlay .box").waitFor()
    await button(page, "Stop").click()
    clean()
  })

  test("the API document can be tried with a token", async () => {
    const login = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ username: "bob", password: PASSWORD }) }
    const { access_token } = await (await fetch(`${server.url}/api/v1/auth/login`, login)).json()
    // Not the operation itself: its name has underscores, about which the viewer complains in addresses.
    await page.goto("/docs#/Accounts")
    await page.getByRole("button", { name: "Authorize" }).first().click()
    await page.getByLabel("auth-bearer-value").fill(access_token)
    await page.getByRole("button", { name: "Apply credentials" }).first().click()
    await page.getByRole("button", { name: "Close", exact: true }).first().click()
    const operation = page.locator("#operations-Accounts-get_api_v1_account")
    await operation.locator(".opblock-summary-control").click()
    await operation.getByRole("button", { name: "Try it out" }).click()
    await operation.getByRole("button", { name: "Execute" }).click()
    await operation.locator(".live-responses-table .response-col_status", { hasText: "200" }).waitFor()
    assert.match(await operation.locator(".live-responses-table").innerText(), /"username": "bob"/)
    clean()
    // The login of the console lasts over a visit elsewhere.
    await page.goto("/console/compare")
    await heading(page, "Compare two faces").waitFor()
    clean()
  })

  test("a login that was ended elsewhere leads back to the log-in", async () => {
    const { access_token } = await (
      await fetch(`${server.url}/api/v1/auth/login`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ username: "bob", password: PASSWORD }),
      })
    ).json()
    await fetch(`${server.url}/api/v1/auth/logout`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${access_token}` },
      body: JSON.stringify({ all: true }),
    })
    await page.getByRole("link", { name: "Gallery", exact: true }).click()
    await page.getByText("The login has ended.").waitFor()
    clean()
  })
})
