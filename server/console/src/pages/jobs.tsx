import { useState } from "preact/hooks"
import { ask, done, formOf, json, part } from "../api"
import { Paged, usePages } from "../list"
import { to } from "../router"
import { may } from "../session"
import type { Collection, Job, JobStatus, Page } from "../types"
import { Badge, Busy, Button, Check, Choice, Confirm, Dialog, Field, Meter, Note, save, Title, Trouble, useAction, useLoaded, usePolling, when } from "../ui"
import { Raw } from "./analyse"
import { count } from "./collections"

const KINDS: Record<string, string> = {
  analyze: "Analyse photos",
  import: "Import persons",
  group: "Group unknown faces",
  duplicates: "Find persons enrolled twice",
  reembed: "Embed again",
}

const STATUS: Record<JobStatus, "good" | "warn" | "bad" | "plain"> = {
  pending: "plain",
  processing: "warn",
  completed: "good",
  failed: "bad",
  cancelled: "plain",
}

function active(job: Job): boolean {
  return job.status === "pending" || job.status === "processing"
}

export function Jobs() {
  const list = usePages<Job>("/api/v1/jobs", { limit: 25 })
  const [starting, setStarting] = useState(false)
  const items = list.items ?? []
  usePolling(
    async () => {
      const fresh = await Promise.all(items.filter(active).map((job) => json<Job>(`/api/v1/jobs/${job.id}`)))
      const by = new Map(fresh.map((job) => [job.id, job]))
      list.setItems((before) => before?.map((job) => by.get(job.id) ?? job) ?? null)
    },
    2,
    items.some(active),
  )
  return (
    <>
      <Title aside={<Button kind="main" onClick={() => setStarting(true)}>Start a job</Button>}>Jobs</Title>
      <Paged list={list} empty="There is no job yet.">
        {(jobs) => (
          <div class="scroll" tabIndex={0} role="region" aria-label="Jobs">
            <table>
              <thead>
                <tr>
                  <th scope="col">Job</th>
                  <th scope="col">Status</th>
                  <th scope="col">Progress</th>
                  <th scope="col" class="wide">Begun</th>
                </tr>
              </thead>
              <tbody>
                {jobs.map((job) => (
                  <tr key={job.id}>
                    <td>
                      <a href={to("jobs", job.id)}>{KINDS[job.kind] ?? job.kind}</a>
                    </td>
                    <td>
                      <Badge kind={STATUS[job.status]}>{job.status}</Badge>
                    </td>
                    <td>
                      <Progress job={job} />
                    </td>
                    <td class="wide">{when(job.created_at)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Paged>
      {starting && <Start close={() => setStarting(false)} started={list.again} />}
    </>
  )
}

function Progress({ job }: { job: Job }) {
  const label = `${job.processed_items} of ${job.total_items}${job.failed_items > 0 ? `, ${job.failed_items} failed` : ""}`
  return (
    <>
      {active(job) && <Meter value={job.processed_items} max={Math.max(1, job.total_items)} label={label} />}
      <span class="small">{label}</span>
    </>
  )
}

export function JobPage({ id }: { id: string }) {
  const path = `/api/v1/jobs/${part(id)}`
  const { value: job, trouble, setValue } = useLoaded((signal) => json<Job>(path, { signal }), [path])
  const [stopping, setStopping] = useState(false)
  usePolling(async () => setValue(await json<Job>(path)), 2, job !== null && active(job))
  const lines = useAction(async () => {
    const parts: Blob[] = []
    for (let from = 0; ; ) {
      const response = await ask(`${path}/results?from=${from}&limit=1000`)
      const text = await response.text()
      const read = text.split("\n").filter((line) => line !== "").length
      if (read === 0) break
      parts.push(new Blob([text]))
      from += read
    }
    save(new Blob(parts, { type: "application/x-ndjson" }), `job-${id}.ndjson`)
  })
  return (
    <>
      <nav aria-label="Above" class="crumbs">
        <a href={to("jobs")}>Jobs</a>
      </nav>
      <Title aside={job && active(job) && <Button kind="danger" onClick={() => setStopping(true)}>Cancel the job</Button>}>
        {job ? (KINDS[job.kind] ?? job.kind) : "Job"}
      </Title>
      {trouble && <Trouble of={trouble} />}
      {!job && !trouble && <Busy />}
      {job && (
        <>
          <dl class="card">
            <div>
              <dt>Status</dt>
              <dd>
                <Badge kind={STATUS[job.status]}>{job.status}</Badge>
              </dd>
            </div>
            <div>
              <dt>Progress</dt>
              <dd>
                <Progress job={job} />
              </dd>
            </div>
            <div>
              <dt>Asked for</dt>
              <dd>{when(job.created_at)}</dd>
            </div>
            {job.completed_at && (
              <div>
                <dt>Ended</dt>
                <dd>{when(job.completed_at)}</dd>
              </div>
            )}
            <div>
              <dt>Id</dt>
              <dd>
                <code>{job.id}</code>
              </dd>
            </div>
          </dl>
          {job.error && <Note kind="warn">{job.error}</Note>}
          {job.kind === "analyze" && (
            <div class="row">
              <Button busy={lines.busy} onClick={() => lines.run()}>
                Save the results
              </Button>
              <span class="small">A line of JSON for each photo, also while the job runs.</span>
            </div>
          )}
          {lines.trouble && <Trouble of={lines.trouble} />}
          {job.results && (
            <>
              <h2>What it found</h2>
              <Raw value={job.results} name={`job-${id}.json`} />
            </>
          )}
        </>
      )}
      {stopping && (
        <Confirm
          title="Cancel the job?"
          word="Cancel the job"
          close={() => setStopping(false)}
          act={async () => setValue(await json<Job>(`${path}/cancel`, { method: "POST" }))}
        >
          <p>What it has done so far stays; it does not go on later.</p>
        </Confirm>
      )}
    </>
  )
}

type Kind = "analyze" | "import" | "group" | "duplicates" | "reembed"

function Start({ close, started }: { close: () => void; started: () => void }) {
  const kinds = (["analyze", "import", "group", "duplicates", "reembed"] as const).filter((kind) =>
    kind === "analyze" ? may("analyze") : kind === "import" ? may("gallery:write") : true,
  )
  const [kind, setKind] = useState<Kind>(kinds[0] ?? "group")
  const [file, setFile] = useState<File | null>(null)
  const [collection, setCollection] = useState("default")
  const [identify, setIdentify] = useState(false)
  const collections = useLoaded((signal) => json<Page<Collection>>("/api/v1/collections?limit=100", { signal }), [])
  const archive = kind === "analyze" || kind === "import"
  const { run, busy, trouble } = useAction(async () => {
    const path = `/api/v1/collections/${part(collection)}`
    if (kind === "analyze") {
      const options = JSON.stringify(identify ? { collection } : {})
      await done("/api/v1/jobs", { form: formOf({ kind, options, file }) })
    } else if (kind === "import") {
      await done(`${path}/imports`, { form: formOf({ file }) })
    } else {
      await done(`${path}/jobs`, { json: { kind } })
    }
  })
  return (
    <Dialog title="Start a job" close={close}>
      <form
        onSubmit={async (event) => {
          event.preventDefault()
          if (await run()) {
            started()
            close()
          }
        }}
      >
        <Choice label="What it does" value={kind} set={setKind} of={kinds.map((key) => [key, KINDS[key] ?? key] as const)} />
        {archive && (
          <Field label="ZIP archive" hint={kind === "import" ? "One folder for each person: ann/1.jpg, bob/1.jpg." : "Photos; folders do not matter."}>
            {(id) => <input id={id} type="file" accept=".zip,application/zip" required onChange={(e) => setFile(e.currentTarget.files?.[0] ?? null)} />}
          </Field>
        )}
        {kind === "analyze" && may("search") && <Check label="Identify the faces in a collection" checked={identify} set={setIdentify} />}
        {(kind !== "analyze" || identify) && (
          <Choice
            label="Collection"
            value={collection}
            set={setCollection}
            of={(collections.value?.items ?? []).map((c) => [c.name, `${c.name}: ${count(c.persons, "person")}`] as const)}
          />
        )}
        {collections.trouble && <Trouble of={collections.trouble} />}
        {trouble && <Trouble of={trouble} />}
        <div class="row end">
          <Button onClick={close}>Cancel</Button>
          <Button kind="main" type="submit" busy={busy} disabled={archive && !file}>
            Start
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
