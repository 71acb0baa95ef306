import { useState } from "preact/hooks"
import { done, json, part } from "../api"
import { EnrolDialog } from "../enrol"
import { Paged, usePages } from "../list"
import { KeptCrop } from "../photo"
import { to } from "../router"
import { may } from "../session"
import type { FaceRecord, Groups, Job, Person } from "../types"
import { Busy, Button, Confirm, Dialog, Meter, Note, Text, Title, Trouble, useAction, usePolling, when } from "../ui"
import { count } from "./collections"

/** Faces of nobody known: the faces themselves, and the groups that a job finds among them. */
export function Unknown({ collection }: { collection: string }) {
  const path = `/api/v1/collections/${part(collection)}`
  const faces = usePages<FaceRecord>(`${path}/faces`, { limit: 100, person: "none" })
  const [job, setJob] = useState<Job | null>(null)
  const [least, setLeast] = useState("3")
  const [naming, setNaming] = useState<string[] | null>(null)
  const [adding, setAdding] = useState(false)
  const [removing, setRemoving] = useState<FaceRecord | null>(null)
  const [named, setNamed] = useState<Set<string>>(new Set())
  const start = useAction(async () => {
    setJob(await json<Job>(`${path}/jobs`, { json: { kind: "group", options: { min_faces: Number(least) } } }))
  })
  const running = job !== null && (job.status === "pending" || job.status === "processing")
  usePolling(async () => job && setJob(await json<Job>(`/api/v1/jobs/${job.id}`)), 1, running)
  const groups = job?.status === "completed" ? (job.results as unknown as Groups) : null
  const crops = new Map((faces.items ?? []).map((face) => [face.id, face.has_crop]))
  return (
    <>
      <nav aria-label="Above" class="crumbs">
        <a href={to("gallery")}>Gallery</a> / <a href={to("gallery", collection)}>{collection}</a>
      </nav>
      <Title aside={may("gallery:write") && <Button onClick={() => setAdding(true)}>Add a face</Button>}>Faces of nobody known</Title>
      <p>
        A job finds groups of faces that are alike: whoever comes by often becomes a group that can be given a name. Pictures are
        shown where the server keeps crops (<code>--store-images</code>).
      </p>
      {may("jobs") && (
        <form
          class="inline"
          onSubmit={(event) => {
            event.preventDefault()
            void start.run()
          }}
        >
          <Text label="Least faces around the middle of a group" type="number" min={2} max={64} value={least} set={setLeast} required />
          <Button kind="main" type="submit" busy={start.busy || running}>
            Find groups
          </Button>
        </form>
      )}
      {start.trouble && <Trouble of={start.trouble} />}
      {job && running && (
        <div class="card">
          <Busy>Grouping</Busy>
          <Meter value={job.processed_items} max={Math.max(1, job.total_items)} label={`${job.processed_items} of ${job.total_items} faces`} />
        </div>
      )}
      {job && (job.status === "failed" || job.status === "cancelled") && (
        <Note kind="warn">
          The job was {job.status}. {job.error}
        </Note>
      )}
      {groups && (
        <section aria-label="Groups">
          <h2>{count(groups.groups.length, "group")}</h2>
          <p>
            {count(groups.grouped_faces, "face")} of {groups.unknown_faces} are in a group.
            {groups.without_embedding > 0 &&
              ` ${count(groups.without_embedding, "face")} have no embedding by the network that runs; the job “embed again” brings it.`}
          </p>
          {groups.groups.map((group, i) => {
            const left = group.faces.filter((face) => !named.has(face))
            if (left.length === 0) return null
            return (
              <article key={i} class="card">
                <div class="row between">
                  <h3>
                    Group {i + 1}: {count(left.length, "face")} <span class="small">mean similarity {group.mean_similarity.toFixed(2)}</span>
                  </h3>
                  {may("gallery:write") && <Button onClick={() => setNaming(left)}>Give a name to group {i + 1}</Button>}
                </div>
                <div class="strip">
                  {left.slice(0, 24).map((face) => (
                    <KeptCrop key={face} collection={collection} face={face} has={crops.get(face) ?? true} alt={`A face of group ${i + 1}`} />
                  ))}
                  {left.length > 24 && <span class="small">and {left.length - 24} more</span>}
                </div>
              </article>
            )
          })}
        </section>
      )}
      <h2>All of them</h2>
      <Paged list={faces} empty="Every face of this collection belongs to somebody.">
        {(items) => (
          <ul class="thumbs">
            {items.map((face, i) => (
              <li key={face.id} class="card">
                <KeptCrop collection={collection} face={face.id} has={face.has_crop} alt={`Unknown face ${i + 1}`} />
                <p class="small">
                  quality {face.quality_score.toFixed(2)}
                  <br />
                  {when(face.created_at)}
                </p>
                {may("gallery:write") && (
                  <Button kind="quiet" aria-label={`Delete unknown face ${i + 1}`} onClick={() => setRemoving(face)}>
                    Delete
                  </Button>
                )}
              </li>
            ))}
          </ul>
        )}
      </Paged>
      {naming && (
        <Naming
          collection={collection}
          faces={naming}
          close={() => setNaming(null)}
          done={(taken) => {
            setNamed(new Set([...named, ...taken]))
            faces.again()
          }}
        />
      )}
      {adding && <EnrolDialog collection={collection} close={() => setAdding(false)} enrolled={() => faces.again()} />}
      {removing && (
        <Confirm
          title="Delete this face?"
          word="Delete"
          close={() => setRemoving(null)}
          act={async () => {
            await done(`${path}/faces/${removing.id}`, { method: "DELETE" })
            faces.again()
          }}
        >
          <p>The face goes with its embeddings and its crop.</p>
        </Confirm>
      )}
    </>
  )
}

function Naming({ collection, faces, close, done: taken }: {
  collection: string
  faces: string[]
  close: () => void
  done: (faces: string[]) => void
}) {
  const [name, setName] = useState("")
  const path = `/api/v1/collections/${part(collection)}`
  const { run, busy, trouble } = useAction(async () => {
    const person = await json<Person>(`${path}/persons`, { json: { name: name.trim() } })
    const moved: string[] = []
    try {
      for (const face of faces) {
        await done(`${path}/faces/${face}`, { method: "PATCH", json: { person: person.id } })
        moved.push(face)
      }
    } finally {
      taken(moved)
    }
  })
  return (
    <Dialog title="Who is it?" close={close}>
      <form
        onSubmit={async (event) => {
          event.preventDefault()
          if (await run()) close()
        }}
      >
        <p>A new person gets {count(faces.length, "face")}.</p>
        <Text label="Name" value={name} set={setName} required maxLength={200} />
        {trouble && <Trouble of={trouble} />}
        <div class="row end">
          <Button onClick={close}>Cancel</Button>
          <Button kind="main" type="submit" busy={busy}>
            Save
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
