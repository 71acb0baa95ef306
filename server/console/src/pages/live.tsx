import { useEffect, useRef, useState } from "preact/hooks"
import { accessToken, json } from "../api"
import { openCamera, still } from "../camera"
import { Overlay, type Mark } from "../overlay"
import { Problem, problem } from "../problem"
import { may } from "../session"
import type { Collection, Page, Track } from "../types"
import { Badge, Busy, Button, Check, Choice, Field, Meter, Note, sentence, Title, Trouble, useLoaded } from "../ui"
import { nameOf } from "./analyse"

interface Frame {
  width: number
  height: number
  tracks: Track[]
  took_ms: number
  dropped: number
  search_error?: { detail: string }
}

interface Wanted {
  liveness: boolean
  attributes: boolean
  quality: boolean
  collection: string
  fps: number
}

/** Messages of the server, as far as they are read here. */
type Message =
  | { type: "hello"; authenticated: boolean }
  | { type: "started" }
  | ({ type: "frame" } & Frame)
  | { type: "stopped" }
  | { type: "error"; code: string; detail: string; retry_after?: number }
  | { type: string & {} }

/** Frames go on after so long without an answer. */
const STALLED_MS = 5_000
/** An access token is good for some minutes; the connection lasts longer and is shown each new one. */
const TOKEN_EVERY_MS = 60_000

export function Live() {
  const video = useRef<HTMLVideoElement>(null)
  const ends = useRef<(() => void) | null>(null)
  const [state, setState] = useState<"off" | "opening" | "on">("off")
  const [frame, setFrame] = useState<Frame | null>(null)
  const [answered, setAnswered] = useState(0)
  const [trouble, setTrouble] = useState<Problem | null>(null)
  const [wanted, setWanted] = useState<Wanted>({ liveness: true, attributes: true, quality: false, collection: "", fps: 5 })
  const collections = useLoaded(
    async (signal) => (may("search") ? await json<Page<Collection>>("/api/v1/collections?limit=100", { signal }) : null),
    [],
  )
  useEffect(() => () => ends.current?.(), [])

  const start = async () => {
    setTrouble(null)
    setFrame(null)
    setAnswered(0)
    setState("opening")
    let over = false
    let stream: MediaStream | null = null
    let socket: WebSocket | null = null
    const timers: number[] = []
    const end = (why?: Problem) => {
      if (over) return
      over = true
      timers.forEach(clearInterval)
      stream?.getTracks().forEach((track) => track.stop())
      socket?.close(1000)
      ends.current = null
      if (why) setTrouble(why)
      setState("off")
    }
    ends.current = () => end()
    try {
      stream = await openCamera()
      const shown = video.current
      if (over || !shown) return end()
      shown.srcObject = stream
      await shown.play()
      const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`
      socket = new WebSocket(address)
      const say = (message: object) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message))
      const canvas = document.createElement("canvas")
      let [under, seq, sent] = [0, 0, 0]
      let encoding = false
      const send = async () => {
        // Two frames on their way keep the server busy; more would only be dropped there.
        if (!socket || socket.readyState !== WebSocket.OPEN || encoding || document.hidden) return
        // An answer that got lost must not end it all.
        if (under >= 2 && performance.now() - sent < STALLED_MS) return
        encoding = true
        const jpeg = await still(shown, canvas, 0.85).finally(() => (encoding = false))
        if (!jpeg || socket.readyState !== WebSocket.OPEN) return
        under = Math.min(2, under + 1)
        sent = performance.now()
        say({ type: "frame", seq: ++seq })
        socket.send(jpeg)
      }
      socket.onmessage = async ({ data }) => {
        const message = JSON.parse(data as string) as Message
        switch (message.type) {
          case "hello": {
            if (!(message as { authenticated: boolean }).authenticated) {
              const token = await accessToken()
              if (token) say({ type: "auth", token })
              timers.push(
                window.setInterval(async () => {
                  const next = await accessToken().catch(() => null)
                  if (next) say({ type: "auth", token: next })
                }, TOKEN_EVERY_MS),
              )
            }
            const analyses = [
              ...(wanted.liveness ? ["antispoof"] : []),
              ...(wanted.attributes ? ["gender_age"] : []),
              ...(wanted.quality ? ["quality"] : []),
            ]
            say({ type: "start", analyses, max_fps: wanted.fps, ...(wanted.collection ? { collection: wanted.collection } : {}) })
            break
          }
          case "started":
            setState("on")
            timers.push(window.setInterval(() => void send(), 1000 / wanted.fps))
            break
          case "frame": {
            const answer = message as Frame & { dropped_since?: number }
            under = Math.max(0, under - 1 - (answer.dropped_since ?? 0))
            setFrame(answer)
            setAnswered((n) => n + 1)
            break
          }
          case "error": {
            const { code, detail, retry_after } = message as { code: string; detail: string; retry_after?: number }
            under = Math.max(0, under - 1)
            setTrouble(new Problem(0, code, "The server could not do it", detail, retry_after ?? null))
            break
          }
        }
      }
      socket.onclose = ({ code, reason }) => {
        if (code === 1000 && reason === "") return end()
        end(new Problem(0, "LIVE", "The live connection ended", reason || "the server cannot be reached, or refused the connection"))
      }
    } catch (error) {
      end(problem(error))
    }
  }

  const tracks = frame?.tracks ?? []
  const visible = tracks.filter((track) => track.visible)
  return (
    <>
      <Title>Live</Title>
      <p>Faces are followed over frames, and the frames vote. Nothing is kept.</p>
      <div class="columns">
        <section aria-label="Camera">
          <figure class={state === "off" ? "picture live off" : "picture live"}>
            <video ref={video} muted playsInline aria-label="What the camera sees" />
            {state === "on" && frame && (
              <Overlay width={frame.width} height={frame.height} marks={visible.map(markOf)} mirrored />
            )}
          </figure>
          <div class="row">
            {state === "off" ? (
              <Button kind="main" onClick={start}>
                Start the camera
              </Button>
            ) : (
              <Button kind="danger" onClick={() => ends.current?.()}>
                Stop
              </Button>
            )}
            {state === "opening" && <Busy>Connecting</Busy>}
            {state === "on" && frame && (
              <span class="small">
                {answered} frames answered, the last in {Math.round(frame.took_ms)} ms, {frame.dropped} skipped
              </span>
            )}
          </div>
          {trouble && <Trouble of={trouble} />}
          {frame?.search_error && <Note kind="warn">{sentence(frame.search_error.detail)}</Note>}
          {state === "off" && (
            <fieldset>
              <legend>What is looked at</legend>
              <div class="grid">
                <Check label="Liveness" checked={wanted.liveness} set={(liveness) => setWanted({ ...wanted, liveness })} />
                <Check label="Age and gender" checked={wanted.attributes} set={(attributes) => setWanted({ ...wanted, attributes })} />
                <Check label="Quality" checked={wanted.quality} set={(quality) => setWanted({ ...wanted, quality })} />
              </div>
              {may("search") && (
                <Choice
                  label="Identify among"
                  value={wanted.collection}
                  set={(collection) => setWanted({ ...wanted, collection })}
                  of={[["", "Nobody"], ...(collections.value?.items ?? []).map((c) => [c.name, `${c.name} (${c.persons})`] as const)]}
                />
              )}
              <Field label={`Most frames a second: ${wanted.fps}`}>
                {(id) => (
                  <input id={id} type="range" min="1" max="15" value={wanted.fps} onInput={(e) => setWanted({ ...wanted, fps: Number(e.currentTarget.value) })} />
                )}
              </Field>
            </fieldset>
          )}
        </section>
        <section aria-label="Tracks">
          {frame && <h2>{visible.length === 1 ? "One face" : `${visible.length || "No"} faces`}</h2>}
          <ul class="plain faces">
            {tracks.map((track) => (
              <TrackPanel key={track.id} track={track} searched={wanted.collection !== ""} />
            ))}
          </ul>
          {state === "on" && frame && tracks.length === 0 && <p class="empty">Nobody is seen.</p>}
        </section>
      </div>
    </>
  )
}

function markOf(track: Track): Mark {
  const head = [`#${track.id}`]
  if (track.identity?.person) head.push(nameOf(track.identity.person))
  const told: string[] = []
  if (track.gender_age?.age != null) told.push(`${Math.round(track.gender_age.age)}, ${track.gender_age.gender ?? ""}`)
  const live = track.liveness?.decision
  if (live) told.push(live === "spoof" ? "attack" : live)
  return {
    box: track.bbox,
    points: track.landmarks?.points,
    lines: told.length > 0 ? [head.join(" · "), told.join(" · ")] : [head.join(" · ")],
    kind: live === "live" ? "good" : live === "spoof" ? "bad" : live === "uncertain" ? "warn" : "plain",
  }
}

function TrackPanel({ track, searched }: { track: Track; searched: boolean }) {
  const { liveness, gender_age: attributes, identity } = track
  return (
    <li class={track.visible ? "card face" : "card face gone"}>
      <h3>
        Track {track.id} {!track.visible && <Badge kind="plain">out of sight</Badge>}
      </h3>
      <dl>
        {searched && identity && (
          <div>
            <dt>Identity</dt>
            <dd>
              {identity.person
                ? nameOf(identity.person)
                : identity.leading?.person
                  ? `perhaps ${nameOf(identity.leading.person)}`
                  : "nobody known"}
              {identity.leading && (
                <span class="small">
                  {" "}
                  {identity.leading.votes} of {identity.frames} votes, similarity {identity.leading.similarity.toFixed(2)}
                </span>
              )}
            </dd>
          </div>
        )}
        {liveness && (
          <div>
            <dt>Liveness</dt>
            <dd>
              <Badge kind={liveness.decision === "live" ? "good" : liveness.decision === "spoof" ? "bad" : "warn"}>
                {liveness.decision === "spoof" ? "attack" : (liveness.decision ?? "not yet known")}
              </Badge>{" "}
              <span class="small">{liveness.frames} frames</span>
            </dd>
          </div>
        )}
        {attributes && attributes.age !== null && (
          <div>
            <dt>Age, gender</dt>
            <dd>
              {Math.round(attributes.age)}, {attributes.gender} <span class="small">{attributes.frames} frames</span>
            </dd>
          </div>
        )}
        <div>
          <dt>Best quality</dt>
          <dd class="row tight">
            <Meter value={track.best.quality} label={`Quality ${track.best.quality.toFixed(2)} of 1`} />
            {track.best.quality.toFixed(2)}
          </dd>
        </div>
      </dl>
    </li>
  )
}
