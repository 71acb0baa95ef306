import { useState } from "preact/hooks"
import { done, json, part } from "../api"
import { Paged, usePages } from "../list"
import { to } from "../router"
import { may } from "../session"
import type { Collection } from "../types"
import { Button, Confirm, Dialog, Text, Title, Trouble, useAction, when } from "../ui"

export function Collections() {
  const list = usePages<Collection>("/api/v1/collections", { limit: 25 })
  const [making, setMaking] = useState(false)
  const [deleting, setDeleting] = useState<Collection | null>(null)
  const writes = may("collections:write")
  return (
    <>
      <Title aside={writes && <Button kind="main" onClick={() => setMaking(true)}>New collection</Button>}>Gallery</Title>
      <p>People and their faces are kept in collections; each is searched by itself.</p>
      <Paged list={list} empty="There is no collection that you may see.">
        {(items) => (
          <ul class="cards">
            {items.map((collection) => (
              <li key={collection.id} class="card">
                <h2>
                  <a href={to("gallery", collection.name)}>{collection.name}</a>
                </h2>
                {collection.description && <p>{collection.description}</p>}
                <p class="small">
                  {count(collection.persons, "person")}, {count(collection.faces, "face")}; made {when(collection.created_at)}
                </p>
                {writes && collection.name !== "default" && (
                  <Button kind="quiet" onClick={() => setDeleting(collection)}>
                    Delete {collection.name}
                  </Button>
                )}
              </li>
            ))}
          </ul>
        )}
      </Paged>
      {making && (
        <Make
          close={() => setMaking(false)}
          made={() => {
            setMaking(false)
            list.again()
          }}
        />
      )}
      {deleting && (
        <Confirm
          title={`Delete ${deleting.name}?`}
          word="Delete it with everything in it"
          close={() => setDeleting(null)}
          act={async () => {
            await done(`/api/v1/collections/${part(deleting.name)}`, { method: "DELETE" })
            list.again()
          }}
        >
          <p>
            {count(deleting.persons, "person")} and {count(deleting.faces, "face")} are forgotten, with embeddings, crops and where
            they were recognised. This cannot be undone.
          </p>
        </Confirm>
      )}
    </>
  )
}

export function count(n: number, what: string): string {
  return `${n.toLocaleString()} ${what}${n === 1 ? "" : "s"}`
}

function Make({ close, made }: { close: () => void; made: () => void }) {
  const [name, setName] = useState("")
  const [description, setDescription] = useState("")
  const { run, busy, trouble } = useAction(() => json<Collection>("/api/v1/collections", { json: { name, description } }))
  return (
    <Dialog title="New collection" close={close}>
      <form
        onSubmit={async (event) => {
          event.preventDefault()
          if (await run()) made()
        }}
      >
        <Text label="Name" value={name} set={setName} required maxLength={64} hint="Letters, digits, - and _; part of addresses." />
        <Text label="Description" value={description} set={setDescription} />
        {trouble && <Trouble of={trouble} />}
        <div class="row end">
          <Button onClick={close}>Cancel</Button>
          <Button kind="main" type="submit" busy={busy}>
            Make it
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
