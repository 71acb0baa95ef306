import { useState } from "preact/hooks"
import { ask, done, json, part } from "../api"
import { EnrolDialog } from "../enrol"
import { Paged, usePages } from "../list"
import { KeptCrop } from "../photo"
import { go, to } from "../router"
import { may } from "../session"
import type { FaceRecord, Person } from "../types"
import { Button, Busy, Confirm, save, Text, Title, Trouble, useAction, useLoaded, when } from "../ui"
import { nameOf } from "./analyse"
import { count } from "./collections"

export function PersonPage({ collection, id }: { collection: string; id: string }) {
  const path = `/api/v1/collections/${part(collection)}/persons/${part(id)}`
  const { value: person, trouble, again } = useLoaded((signal) => json<Person>(path, { signal }), [path])
  const faces = usePages<FaceRecord>(`${path}/faces`, { limit: 50 })
  const [dialog, setDialog] = useState<"enrol" | "forget" | null>(null)
  const [removing, setRemoving] = useState<FaceRecord | null>(null)
  const [name, setName] = useState<string | null>(null)
  const rename = useAction(async () => {
    await done(path, { method: "PATCH", json: { name: name?.trim() } })
    setName(null)
    again()
  })
  const exporting = useAction(async () => save(await (await ask(`${path}/export`)).blob(), `person-${id}.json`))
  const writes = may("gallery:write")
  const crumbs = (
    <nav aria-label="Above" class="crumbs">
      <a href={to("gallery")}>Gallery</a> / <a href={to("gallery", collection)}>{collection}</a>
    </nav>
  )
  if (!person) {
    return (
      <>
        {crumbs}
        <Title>Person</Title>
        {trouble ? <Trouble of={trouble} /> : <Busy />}
      </>
    )
  }
  return (
    <>
      {crumbs}
      <Title
        aside={
          writes && (
            <>
              <Button kind="main" onClick={() => setDialog("enrol")}>
                Enrol a face
              </Button>
              <Button kind="danger" onClick={() => setDialog("forget")}>
                Forget this person
              </Button>
            </>
          )
        }
      >
        {nameOf(person)}
      </Title>
      <dl class="card">
        <div>
          <dt>External id</dt>
          <dd>
            <code>{person.external_id}</code>
          </dd>
        </div>
        <div>
          <dt>Since</dt>
          <dd>{when(person.created_at)}</dd>
        </div>
        {Object.keys(person.metadata ?? {}).length > 0 && (
          <div>
            <dt>Metadata</dt>
            <dd>
              <code>{JSON.stringify(person.metadata)}</code>
            </dd>
          </div>
        )}
      </dl>
      <div class="row">
        {writes && name === null && <Button onClick={() => setName(person.name)}>Change the name</Button>}
        {may("privacy") && (
          <Button busy={exporting.busy} onClick={() => exporting.run()}>
            Export everything about the person
          </Button>
        )}
      </div>
      {exporting.trouble && <Trouble of={exporting.trouble} />}
      {name !== null && (
        <form
          class="inline"
          onSubmit={(event) => {
            event.preventDefault()
            void rename.run()
          }}
        >
          <Text label="Name" value={name} set={setName} maxLength={200} />
          <Button kind="main" type="submit" busy={rename.busy}>
            Save
          </Button>
          <Button onClick={() => setName(null)}>Cancel</Button>
        </form>
      )}
      {rename.trouble && <Trouble of={rename.trouble} />}
      <h2>{count(person.faces, "face")}</h2>
      <Paged list={faces} empty="No face is enrolled: the person is not found by any photo yet.">
        {(items) => (
          <ul class="thumbs">
            {items.map((face, i) => (
              <li key={face.id} class="card">
                <KeptCrop collection={collection} face={face.id} has={face.has_crop} alt={`Face ${i + 1} of ${nameOf(person)}`} />
                <p class="small">
                  quality {face.quality_score.toFixed(2)}
                  <br />
                  {when(face.created_at)}
                  {!face.searchable && (
                    <>
                      <br />
                      not searched
                    </>
                  )}
                </p>
                {writes && (
                  <Button kind="quiet" aria-label={`Delete face ${i + 1}`} onClick={() => setRemoving(face)}>
                    Delete
                  </Button>
                )}
              </li>
            ))}
          </ul>
        )}
      </Paged>
      {dialog === "enrol" && (
        <EnrolDialog
          collection={collection}
          person={person}
          close={() => setDialog(null)}
          enrolled={() => {
            again()
            faces.again()
          }}
        />
      )}
      {dialog === "forget" && (
        <Confirm
          title={`Forget ${nameOf(person)}?`}
          word="Forget"
          close={() => setDialog(null)}
          act={async () => {
            await done(path, { method: "DELETE" })
            go(to("gallery", collection))
          }}
        >
          <p>
            The person goes with {count(person.faces, "face")}, embeddings, crops and where it was recognised. This cannot be
            undone; older backups hold what was in them.
          </p>
        </Confirm>
      )}
      {removing && (
        <Confirm
          title="Delete this face?"
          word="Delete"
          close={() => setRemoving(null)}
          act={async () => {
            await done(`/api/v1/collections/${part(collection)}/faces/${removing.id}`, { method: "DELETE" })
            again()
            faces.again()
          }}
        >
          <p>The face goes with its embeddings and its crop. The person stays.</p>
        </Confirm>
      )}
    </>
  )
}
