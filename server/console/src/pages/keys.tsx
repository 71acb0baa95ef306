import { useState } from "preact/hooks"
import { done, json } from "../api"
import { Paged, usePages } from "../list"
import { may, useSession } from "../session"
import type { Collection, Key, Page } from "../types"
import { Badge, Button, Check, Confirm, Dialog, Note, Text, Title, Trouble, useAction, useLoaded, when } from "../ui"

export function Keys() {
  const [all, setAll] = useState(false)
  const list = usePages<Key>("/api/v1/keys", { limit: 50, all: all ? "true" : null })
  const [making, setMaking] = useState(false)
  const [ending, setEnding] = useState<Key | null>(null)
  return (
    <>
      <Title aside={<Button kind="main" onClick={() => setMaking(true)}>New key</Button>}>Keys</Title>
      <p>
        Programs show a key in the header <code>X-API-Key</code>. A key is shown once, when it is made.
      </p>
      {may("users") && <Check label="Show everybody's keys" checked={all} set={setAll} />}
      <Paged list={list} empty="There is no key yet.">
        {(keys) => (
          <div class="scroll" tabIndex={0} role="region" aria-label="Keys">
            <table>
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">Scopes</th>
                  <th scope="col" class="wide">Used last</th>
                  <th scope="col">Good until</th>
                  <th scope="col">
                    <span class="sr">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {keys.map((key) => (
                  <tr key={key.id}>
                    <td>
                      {key.name}
                      <div class="small">
                        <code>{key.prefix}…</code>
                      </div>
                    </td>
                    <td class="small">{key.scopes.join(", ")}</td>
                    <td class="wide">{when(key.last_used_at)}</td>
                    <td>{key.revoked_at ? <Badge kind="bad">revoked</Badge> : key.expires_at ? when(key.expires_at) : "no end"}</td>
                    <td>
                      {!key.revoked_at && (
                        <Button aria-label={`Revoke ${key.name}`} onClick={() => setEnding(key)}>
                          Revoke
                        </Button>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Paged>
      {making && <Make close={() => setMaking(false)} made={list.again} />}
      {ending && (
        <Confirm
          title={`Revoke ${ending.name}?`}
          word="Revoke the key"
          close={() => setEnding(null)}
          act={async () => {
            await done(`/api/v1/keys/${ending.id}`, { method: "DELETE" })
            list.again()
          }}
        >
          <p>Programs that use it are refused from the next request on. It cannot be given back.</p>
        </Confirm>
      )}
    </>
  )
}

function Make({ close, made }: { close: () => void; made: () => void }) {
  const session = useSession()
  const offered = session.state === "in" ? session.account.permissions : []
  const [name, setName] = useState("")
  const [scopes, setScopes] = useState<string[]>(["analyze"])
  const [bound, setBound] = useState<string[]>([])
  const [until, setUntil] = useState("")
  const [key, setKey] = useState<string | null>(null)
  const [copied, setCopied] = useState(false)
  const collections = useLoaded(
    async (signal) => (may("gallery:read") ? await json<Page<Collection>>("/api/v1/collections?limit=100", { signal }) : null),
    [],
  )
  const { run, busy, trouble } = useAction(async () => {
    const body = {
      name: name.trim(),
      scopes,
      collections: bound,
      // Until the end of that day, as the calendar here has it.
      ...(until ? { expires_at: new Date(`${until}T23:59:59`).toISOString() } : {}),
    }
    const answer = await json<Key & { key: string | null }>("/api/v1/keys", { json: body })
    setKey(answer.key)
    made()
  })
  const flip = (list: string[], value: string) => (list.includes(value) ? list.filter((v) => v !== value) : [...list, value])
  if (key) {
    return (
      <Dialog title="The key" close={close}>
        <Note kind="warn">Copy it now: it is not stored, and cannot be shown again.</Note>
        <p class="secret">
          <code>{key}</code>
        </p>
        <div class="row end">
          <Button
            onClick={() =>
              navigator.clipboard?.writeText(key).then(
                () => setCopied(true),
                () => setCopied(false),
              )
            }
          >
            {copied ? "Copied" : "Copy"}
          </Button>
          <Button kind="main" onClick={close}>
            Done
          </Button>
        </div>
      </Dialog>
    )
  }
  return (
    <Dialog title="New key" close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void run()
        }}
      >
        <Text label="What it is for" value={name} set={setName} required />
        <fieldset>
          <legend>Scopes</legend>
          <div class="grid">
            {offered.map((scope) => (
              <Check key={scope} label={scope} checked={scopes.includes(scope)} set={() => setScopes(flip(scopes, scope))} />
            ))}
          </div>
        </fieldset>
        {(collections.value?.items.length ?? 0) > 0 && (
          <fieldset>
            <legend>Collections; none for all that you may see</legend>
            <div class="grid">
              {collections.value?.items.map((c) => (
                <Check key={c.id} label={c.name} checked={bound.includes(c.id)} set={() => setBound(flip(bound, c.id))} />
              ))}
            </div>
          </fieldset>
        )}
        <Text label="Good until" type="date" value={until} set={setUntil} hint="Left empty, until it is revoked." />
        {trouble && <Trouble of={trouble} />}
        <div class="row end">
          <Button onClick={close}>Cancel</Button>
          <Button kind="main" type="submit" busy={busy} disabled={scopes.length === 0}>
            Make the key
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
