import { useState } from "preact/hooks"
import { done, json, part } from "../api"
import type { Model, Models } from "../types"
import { Badge, Busy, Button, Dialog, duration, Meter, Text, Title, Trouble, useAction, useLoaded, usePolling } from "../ui"

const SERVICES: Record<string, string> = {
  mediapipe: "BlazeFace detection",
  yolo: "YOLO detection",
  mtcnn: "MTCNN detection",
  recognition: "Recognition",
  antispoof: "Liveness",
  gender_age: "Age and gender",
  deepfake: "Authenticity",
}

export function ModelsPage() {
  const { value, trouble, setValue } = useLoaded((signal) => json<Models>("/api/v1/models", { signal }), [])
  const reload = async () => setValue(await json<Models>("/api/v1/models"))
  usePolling(reload, 5, value !== null)
  const [budget, setBudget] = useState<string | null>(null)
  if (!value) {
    return (
      <>
        <Title>Models</Title>
        {trouble ? <Trouble of={trouble} /> : <Busy />}
      </>
    )
  }
  const held = (models: Model[]) => models.filter((m) => m.state === "loaded").reduce((sum, m) => sum + m.memory.weights_mb, 0)
  return (
    <>
      <Title>Models</Title>
      <p>
        {value.models.filter((m) => m.state === "loaded").length} of {value.models.length} networks are loaded; their weights take{" "}
        {Math.round(held(value.models))} MB of {Math.round(value.budget_total_mb)} MB. A network that is unloaded comes back
        when it is needed.
      </p>
      {!value.device_healthy && (
        <div class="notice bad" role="alert">
          <strong>The device that runs the networks fails.</strong>
          <p>Restart the server, or start it with --device cpu.</p>
        </div>
      )}
      {Object.entries(value.budgets_mb).map(([service, limit]) => {
        const models = value.models.filter((model) => model.services.includes(service))
        if (models.length === 0) return null
        const needed = held(models)
        return (
          <section key={service} class="card">
            <div class="row between">
              <h2>{SERVICES[service] ?? service}</h2>
              <Button kind="quiet" aria-label={`Change the budget of ${SERVICES[service] ?? service}`} onClick={() => setBudget(service)}>
                Change the budget
              </Button>
            </div>
            <div class="row tight">
              <Meter value={needed} max={limit} label={`${needed.toFixed(1)} MB of weights, of ${limit} MB`} />
              <span class="small">
                {needed.toFixed(1)} MB of weights, of {limit} MB
              </span>
            </div>
            <ul class="plain models">
              {models.map((model) => (
                <Row key={model.name} model={model} changed={reload} />
              ))}
            </ul>
          </section>
        )
      })}
      {budget && (
        <Budget service={budget} now={value.budgets_mb[budget] ?? 0} close={() => setBudget(null)} changed={reload} />
      )}
    </>
  )
}

function Row({ model, changed }: { model: Model; changed: () => Promise<void> }) {
  const { run, busy, trouble } = useAction(async (verb: string) => {
    await done(`/api/v1/models/${part(model.name)}/${verb}`, { method: "POST" })
    await changed()
  })
  const loaded = model.state === "loaded"
  return (
    <li>
      <div class="row between">
        <div>
          <strong>{model.name}</strong> <span class="small">{model.version}</span>{" "}
          <Badge kind={loaded ? "good" : "plain"}>{model.state}</Badge> {model.pinned && <Badge kind="warn">pinned</Badge>}
          <p class="small">
            {model.memory.weights_mb.toFixed(1)} MB of weights, batches of up to {model.memory.largest_batch}; {model.batches.run.toLocaleString()} batches,{" "}
            {model.batches.items.toLocaleString()} items
            {model.batches.failed > 0 && `, ${model.batches.failed} failed`}
            {model.idle_seconds !== null && `; idle for ${duration(model.idle_seconds)}`}
          </p>
        </div>
        <div class="row">
          <Button busy={busy} aria-label={`${loaded ? "Unload" : "Load"} ${model.name}`} disabled={loaded && model.pinned} onClick={() => run(loaded ? "unload" : "load")}>
            {loaded ? "Unload" : "Load"}
          </Button>
          <Button busy={busy} aria-label={`${model.pinned ? "Unpin" : "Pin"} ${model.name}`} onClick={() => run(model.pinned ? "unpin" : "pin")}>
            {model.pinned ? "Unpin" : "Pin"}
          </Button>
        </div>
      </div>
      {trouble && <Trouble of={trouble} />}
    </li>
  )
}

function Budget({ service, now, close, changed }: { service: string; now: number; close: () => void; changed: () => Promise<void> }) {
  const [limit, setLimit] = useState(String(Math.round(now)))
  const { run, busy, trouble } = useAction(async () => {
    await done(`/api/v1/models/budgets/${part(service)}`, { method: "PUT", json: { limit_mb: Number(limit) } })
    await changed()
  })
  return (
    <Dialog title={`${SERVICES[service] ?? service}: memory`} close={close}>
      <form
        onSubmit={async (event) => {
          event.preventDefault()
          if (await run()) close()
        }}
      >
        <Text label="MB that its networks may hold" type="number" min={1} step={1} required value={limit} set={setLimit} hint="Batches are cut to fit. It holds until the server is started again." />
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
