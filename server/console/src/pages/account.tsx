import { useState } from "preact/hooks"
import { done } from "../api"
import { logOut, useSession } from "../session"
import { Button, Text, Title, Trouble, useAction, when } from "../ui"

export function Account() {
  const session = useSession()
  const [current, setCurrent] = useState("")
  const [password, setPassword] = useState("")
  const change = useAction(async () => {
    await done("/api/v1/account", { method: "PATCH", json: { password, current_password: current } })
    // The new password ended this login too.
    await logOut().catch(() => {})
  })
  const everywhere = useAction(() => logOut(true))
  if (session.state !== "in") return null
  const { account } = session
  return (
    <>
      <Title>{account.username}</Title>
      <dl class="card">
        <div>
          <dt>Role</dt>
          <dd>{account.role}</dd>
        </div>
        <div>
          <dt>May</dt>
          <dd>{account.permissions.join(", ")}</dd>
        </div>
        {account.email && (
          <div>
            <dt>Email</dt>
            <dd>{account.email}</dd>
          </div>
        )}
        <div>
          <dt>Since</dt>
          <dd>{when(account.created_at)}</dd>
        </div>
      </dl>
      <h2>Change the password</h2>
      <form
        class="narrow"
        onSubmit={(event) => {
          event.preventDefault()
          void change.run()
        }}
      >
        <Text label="Present password" type="password" value={current} set={setCurrent} required autocomplete="current-password" />
        <Text label="New password" type="password" value={password} set={setPassword} required minLength={12} autocomplete="new-password" hint="12 characters or more. Every login of the account ends." />
        {change.trouble && <Trouble of={change.trouble} />}
        <Button kind="main" type="submit" busy={change.busy}>
          Change it
        </Button>
      </form>
      <h2>Logins</h2>
      {everywhere.trouble && <Trouble of={everywhere.trouble} />}
      <Button busy={everywhere.busy} onClick={() => everywhere.run()}>
        Log out everywhere
      </Button>
    </>
  )
}
