import type { ComponentChildren } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import { formOf, json } from "../api"
import { Overlay, type Mark } from "../overlay"
import { Crop, photoOf, PhotoInput, type Photo } from "../photo"
import { may } from "../session"
import { isMissing, type Analysis, type Collection, type Face, type Match, type Missing, type Page } from "../types"
import { Badge, Busy, Button, Check, Choice, Meter, Note, save, sentence, Title, Trouble, useAction, useLoaded } from "../ui"

const DETECTORS = [
  ["ensemble", "All of them together"],
  ["mtcnn", "MTCNN: precise, with landmarks"],
  ["yolo", "YOLO: crowds"],
  ["mediapipe", "BlazeFace: fast"],
] as const

const LEVELS = [
  ["basic", "Basic: one stranger in a hundred passes"],
  ["standard", "Standard: one in a thousand"],
  ["strict", "Strict: one in ten thousand"],
] as const

type Detector = (typeof DETECTORS)[number][0]
type Level = (typeof LEVELS)[number][0]

export function Analyse() {
  const [photo, setPhoto] = useState<Photo | null>(null)
  const [analysis, setAnalysis] = useState<Analysis | null>(null)
  const [chosen, setChosen] = useState<number | null>(null)
  const [detector, setDetector] = useState<Detector>("ensemble")
  const [collection, setCollection] = useState("")
  const [level, setLevel] = useState<Level>("standard")
  const [threshold, setThreshold] = useState<number | null>(null)
  const [store, setStore] = useState(false)
  const [landmarks, setLandmarks] = useState(true)
  const [view, setView] = useState<"faces" | "json">("faces")
  /** From which similarity on the matches at hand were asked for. */
  const fetched = useRef<number | null>(null)
  const collections = useLoaded(
    async (signal) => (may("search") ? await json<Page<Collection>>("/api/v1/collections?limit=100", { signal }) : null),
    [],
  )

  const { run, busy, trouble, clear } = useAction(async (from: Photo, asked: Asked) => {
    const form = formOf({
      file: from.file,
      face_service: asked.detector,
      collection: asked.collection,
      verification_level: asked.collection && asked.similarity === null ? asked.level : null,
      min_similarity: asked.collection ? asked.similarity : null,
      store: asked.store ? true : null,
    })
    const answer = await json<Analysis>("/analyze/comprehensive", { form })
    setAnalysis(answer)
    const measured = answer.data.faces.map(thresholdOf).find((value) => value !== null) ?? null
    fetched.current = measured
    setThreshold(measured)
  })

  const asked = (): Asked => ({ detector, collection, level, similarity: null, store })
  const give = async (file: Blob) => {
    clear()
    setAnalysis(null)
    setChosen(null)
    const next = await photoOf(file)
    if (photo) URL.revokeObjectURL(photo.url)
    setPhoto(next)
    await run(next, asked())
  }
  const again = (changed: Partial<Asked>) => {
    // One analysis is stored once, not each time that a slider moves.
    if (photo) void run(photo, { ...asked(), store: false, ...changed })
  }

  const faces = analysis?.data.faces ?? []
  const marks = faces.map((face, i) => mark(face, i, threshold, landmarks))
  return (
    <>
      <Title>Analyse a photo</Title>
      <div class={photo ? "columns" : ""}>
        <section aria-label="Photo">
          {photo ? (
            <figure class="picture">
              {photo.image ? (
                <img src={photo.url} alt="The photo that is analysed" />
              ) : (
                <p class="none">The browser cannot show this file; the server may be able to read it.</p>
              )}
              {photo.image && analysis && (
                <Overlay
                  width={photo.width}
                  height={photo.height}
                  marks={marks}
                  chosen={chosen}
                  choose={(index) => {
                    setChosen(index)
                    document.getElementById(`face-${index}`)?.scrollIntoView({ block: "nearest" })
                  }}
                />
              )}
            </figure>
          ) : null}
          <PhotoInput give={give} compact={photo !== null} />
          {busy && <Busy>Looking at every face</Busy>}
          {trouble && <Trouble of={trouble} />}
          <details class="options" open={photo !== null}>
            <summary>Options</summary>
            <div class="grid">
              <Choice
                label="Faces are found by"
                value={detector}
                set={(value) => {
                  setDetector(value)
                  again({ detector: value })
                }}
                of={DETECTORS}
              />
              {may("search") && (
                <Choice
                  label="Identify among"
                  value={collection}
                  set={(value) => {
                    setCollection(value)
                    again({ collection: value })
                  }}
                  of={[["", "Nobody"], ...(collections.value?.items ?? []).map((c) => [c.name, `${c.name} (${c.persons})`] as const)]}
                />
              )}
              {collection && (
                <Choice
                  label="How sure a match must be"
                  value={level}
                  set={(value) => {
                    setLevel(value)
                    again({ level: value })
                  }}
                  of={LEVELS}
                />
              )}
              {collection && threshold !== null && (
                <div class="field">
                  <label for="threshold">
                    Least similarity: <output>{threshold.toFixed(2)}</output>
                  </label>
                  <input
                    id="threshold"
                    type="range"
                    min="0"
                    max="1"
                    step="0.01"
                    value={threshold}
                    onInput={(event) => setThreshold(Number(event.currentTarget.value))}
                    onChange={(event) => {
                      const similarity = Number(event.currentTarget.value)
                      // What is less alike than asked for was not told.
                      if (fetched.current !== null && similarity < fetched.current) again({ similarity })
                    }}
                  />
                </div>
              )}
              <Check label="Show landmarks" checked={landmarks} set={setLandmarks} />
              {may("history:write") && <Check label="Store the next analysis" checked={store} set={setStore} />}
            </div>
          </details>
          {collections.trouble && <Trouble of={collections.trouble} />}
        </section>
        {analysis && (
          <section aria-label="Answer">
            <div class="row between">
              <h2>{faces.length === 1 ? "One face" : `${faces.length || "No"} faces`}</h2>
              <div class="row">
                <div class="tabs" role="group" aria-label="View">
                  <Button kind="quiet" aria-pressed={view === "faces"} onClick={() => setView("faces")}>
                    Faces
                  </Button>
                  <Button kind="quiet" aria-pressed={view === "json"} onClick={() => setView("json")}>
                    JSON
                  </Button>
                </div>
              </div>
            </div>
            {analysis.metadata.session_id && (
              <Note kind="good">
                The analysis is stored as <code>{analysis.metadata.session_id}</code>.
              </Note>
            )}
            {view === "json" ? (
              <Raw value={analysis} name="analysis.json" />
            ) : faces.length === 0 ? (
              <Note>No face was found. A face must be turned to the camera and at least some 20 pixels high.</Note>
            ) : (
              <ol class="faces">
                {faces.map((face, i) => (
                  <FacePanel
                    key={i}
                    face={face}
                    index={i}
                    photo={photo}
                    threshold={threshold}
                    chosen={chosen === i}
                    choose={() => setChosen(chosen === i ? null : i)}
                  />
                ))}
              </ol>
            )}
            <p class="small">
              {analysis.metadata.processing_time}
              {analysis.metadata.cached ? ", from the cache" : ""}. Liveness from one photo is a hint; none of these answers is
              fit to decide about a person alone.
            </p>
          </section>
        )}
      </div>
    </>
  )
}

interface Asked {
  detector: Detector
  collection: string
  level: Level
  /** In place of the level. */
  similarity: number | null
  store: boolean
}

/** JSON as it was answered. */
export function Raw({ value, name }: { value: unknown; name: string }) {
  const text = JSON.stringify(value, null, 2)
  return (
    <>
      <pre class="raw" tabIndex={0}>
        {text}
      </pre>
      <Button onClick={() => save(new Blob([text], { type: "application/json" }), name)}>Save as a file</Button>
    </>
  )
}

function thresholdOf(face: Face): number | null {
  const { recognition } = face
  return recognition && !isMissing(recognition) ? (recognition.match_threshold ?? null) : null
}

/** The most similar face of each person, from `threshold` on. */
export function bestMatches(matches: Match[], threshold: number | null): Match[] {
  const best = new Map<string, Match>()
  for (const match of matches) {
    const key = match.person?.id ?? match.face_id
    if (threshold !== null && match.similarity < threshold) continue
    if (!best.has(key)) best.set(key, match)
  }
  return [...best.values()]
}

export function nameOf(person: { name: string; external_id: string } | null): string {
  return person === null ? "a face of nobody known" : person.name || person.external_id
}

function matchesOf(face: Face, threshold: number | null): Match[] | null {
  const { recognition } = face
  if (!recognition || isMissing(recognition) || !recognition.matches) return null
  return bestMatches(recognition.matches, threshold)
}

function mark(face: Face, index: number, threshold: number | null, landmarks: boolean): Mark {
  const known = matchesOf(face, threshold)?.[0]
  const head = [String(index + 1)]
  if (known) head.push(nameOf(known.person))
  const lines = [head.join(" · ")]
  const told: string[] = []
  if (face.gender_age && !isMissing(face.gender_age)) {
    told.push(`${Math.round(face.gender_age.age)}, ${face.gender_age.gender}`)
  }
  if (face.antispoofing && !isMissing(face.antispoofing)) {
    told.push(face.antispoofing.decision === "spoof" ? "attack" : face.antispoofing.decision)
  }
  if (told.length > 0) lines.push(told.join(" · "))
  const live = face.antispoofing && !isMissing(face.antispoofing) ? face.antispoofing.decision : null
  return {
    box: face.detection.bbox,
    points: landmarks ? face.detection.landmarks?.points : undefined,
    lines,
    kind: live === "live" ? "good" : live === "spoof" ? "bad" : live === "uncertain" ? "warn" : "plain",
  }
}

function FacePanel({ face, index, photo, threshold, chosen, choose }: {
  face: Face
  index: number
  photo: Photo | null
  threshold: number | null
  chosen: boolean
  choose: () => void
}) {
  const panel = useRef<HTMLLIElement>(null)
  const box = face.detection.bbox
  const matches = matchesOf(face, threshold)
  useEffect(() => {
    if (chosen) panel.current?.scrollIntoView({ block: "nearest" })
  }, [chosen])
  return (
    <li ref={panel} id={`face-${index}`} class={chosen ? "card face chosen" : "card face"}>
      <div class="head">
        {photo?.image && <Crop photo={photo} box={box} alt={`Face ${index + 1}`} />}
        <div>
          <h3>
            <button type="button" class="link" aria-pressed={chosen} onClick={choose}>
              Face {index + 1}
            </button>
          </h3>
          <p class="small">
            {Math.round(box.width)} × {Math.round(box.height)} pixels, found with {(box.confidence ?? 0).toFixed(2)}
          </p>
        </div>
      </div>
      <dl>
        {matches && (
          <Row name="Identity">
            {matches.length === 0 ? (
              "nobody known"
            ) : (
              <ul class="plain">
                {matches.map((match) => (
                  <li key={match.face_id}>
                    {nameOf(match.person)} <span class="small">similarity {match.similarity.toFixed(2)}</span>
                  </li>
                ))}
              </ul>
            )}
          </Row>
        )}
        {face.recognition && isMissing(face.recognition) && <Absent name="Identity" answer={face.recognition} />}
        <Answer name="Age" answer={face.gender_age}>
          {(a) => (
            <>
              {Math.round(a.age)} years{a.age_range && <span class="small"> between {a.age_range.min} and {a.age_range.max}</span>}
            </>
          )}
        </Answer>
        {face.gender_age && !isMissing(face.gender_age) && (
          <Row name="Gender">
            {face.gender_age.gender} <span class="small">{face.gender_age.gender_confidence.toFixed(2)}</span>
          </Row>
        )}
        <Answer name="Liveness" answer={face.antispoofing}>
          {(a) => (
            <>
              <Badge kind={a.decision === "live" ? "good" : a.decision === "spoof" ? "bad" : "warn"}>
                {a.decision === "spoof" ? "attack" : a.decision}
              </Badge>{" "}
              <span class="small">{(1 - a.spoof_score).toFixed(2)}</span>
            </>
          )}
        </Answer>
        <Answer name="Authenticity" answer={face.deepfake}>
          {(a) => (
            <>
              <Badge kind={a.decision === "real" ? "good" : a.decision === "fake" ? "bad" : "warn"}>
                {a.decision === "real" ? "photograph" : a.decision}
              </Badge>{" "}
              <span class="small">fake {a.deepfake_score.toFixed(2)}</span>
            </>
          )}
        </Answer>
        <Answer name="Quality" answer={face.quality}>
          {(a) => (
            <>
              <span class="row tight">
                <Meter value={a.quality_metrics.overall_score} label={`Quality ${a.quality_metrics.overall_score.toFixed(2)} of 1`} />
                {a.quality_metrics.overall_score.toFixed(2)} {a.quality_category}
              </span>
              <ul class="plain small">
                {a.recommendations.map((text) => (
                  <li key={text}>{sentence(text)}</li>
                ))}
              </ul>
            </>
          )}
        </Answer>
      </dl>
    </li>
  )
}

function Row({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

function Absent({ name, answer }: { name: string; answer: Missing }) {
  return (
    <Row name={name}>
      <Badge kind="plain">{answer.status === "error" ? "failed" : "not available"}</Badge> <span class="small">{sentence(answer.reason)}</span>
    </Row>
  )
}

function Answer<T extends object>({ name, answer, children }: {
  name: string
  answer: T | Missing | undefined
  children: (answer: T) => ComponentChildren
}) {
  if (answer === undefined) return null
  return isMissing(answer) ? <Absent name={name} answer={answer} /> : <Row name={name}>{children(answer as T)}</Row>
}
