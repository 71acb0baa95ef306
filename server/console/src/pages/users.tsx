import { useState } from "preact/hooks"
import { done, json } from "../api"
import { Paged, usePages } from "../list"
import { useSession } from "../session"
import type { Role, User } from "../types"
import { Badge, Button, Check, Choice, Confirm, Dialog, Text, Title, Trouble, useAction, when } from "../ui"

const ROLES: readonly (readonly [Role, string])[] = [
  ["read-only", "Read-only: analyses and searches"],
  ["user", "User: also enrols, deletes, runs jobs"],
  ["operator", "Operator: also looks after the server"],
  ["admin", "Admin: everything"],
]

export function Users() {
  const list = usePages<User>("/api/v1/users", { limit: 50 })
  const session = useSession()
  const own = session.state === "in" ? session.account.id : null
  const [making, setMaking] = useState(false)
  const [changing, setChanging] = useState<User | null>(null)
  const [deleting, setDeleting] = useState<User | null>(null)
  return (
    <>
      <Title aside={<Button kind="main" onClick={() => setMaking(true)}>New account</Button>}>Users</Title>
      <Paged list={list} empty="There is no account yet.">
        {(users) => (
          <div class="scroll" tabIndex={0} role="region" aria-label="Accounts">
            <table>
              <thead>
                <tr>
                  <th scope="col">User name</th>
                  <th scope="col" class="wide">Name</th>
                  <th scope="col">Role</th>
                  <th scope="col" class="wide">Since</th>
                  <th scope="col">
                    <span class="sr">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {users.map((user) => (
                  <tr key={user.id}>
                    <td>
                      {user.username}
                      {user.email && <div class="small">{user.email}</div>}
                    </td>
                    <td class="wide">{`${user.first_name} ${user.last_name}`.trim()}</td>
                    <td>
                      {user.role} {!user.is_active && <Badge kind="bad">closed</Badge>}
                    </td>
                    <td class="wide">{when(user.created_at)}</td>
                    <td>
                      <div class="row end">
                        <Button aria-label={`Change ${user.username}`} onClick={() => setChanging(user)}>
                          Change
                        </Button>
                        {user.id !== own && (
                          <Button kind="quiet" aria-label={`Delete ${user.username}`} onClick={() => setDeleting(user)}>
                            Delete
                          </Button>
                        )}
                      </div>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Paged>
      {making && <Make close={() => setMaking(false)} made={list.again} />}
      {changing && <Change user={changing} own={changing.id === own} close={() => setChanging(null)} changed={list.again} />}
      {deleting && (
        <Confirm
          title={`Delete ${deleting.username}?`}
          word="Delete the account"
          close={() => setDeleting(null)}
          act={async () => {
            await done(`/api/v1/users/${deleting.id}`, { method: "DELETE" })
            list.again()
          }}
        >
          <p>The account goes with its keys, and its logins end at once.</p>
        </Confirm>
      )}
    </>
  )
}

function Make({ close, made }: { close: () => void; made: () => void }) {
  const [username, setUsername] = useState("")
  const [password, setPassword] = useState("")
  const [email, setEmail] = useState("")
  const [role, setRole] = useState<Role>("user")
  const { run, busy, trouble } = useAction(() =>
    json<User>("/api/v1/users", { json: { username: username.trim(), password, role, ...(email.trim() ? { email: email.trim() } : {}) } }),
  )
  return (
    <Dialog title="New account" close={close}>
      <form
        onSubmit={async (event) => {
          event.preventDefault()
          if (await run()) {
            made()
            close()
          }
        }}
      >
        <Text label="User name" value={username} set={setUsername} required autocomplete="off" autocapitalize="off" />
        <Text label="Email" type="email" value={email} set={setEmail} autocomplete="off" />
        <Text label="Password" type="password" value={password} set={setPassword} required minLength={12} autocomplete="new-password" hint="12 characters or more; tell it to the person, who can change it." />
        <Choice label="Role" value={role} set={setRole} of={ROLES} />
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

function Change({ user, own, close, changed }: { user: User; own: boolean; close: () => void; changed: () => void }) {
  const [role, setRole] = useState<Role>(user.role)
  const [open, setOpen] = useState(user.is_active)
  const [password, setPassword] = useState("")
  const { run, busy, trouble } = useAction(() =>
    done(`/api/v1/users/${user.id}`, {
      method: "PATCH",
      json: { ...(own ? {} : { role, is_active: open }), ...(password ? { password } : {}) },
    }),
  )
  return (
    <Dialog title={user.username} close={close}>
      <form
        onSubmit={async (event) => {
          event.preventDefault()
          if (await run()) {
            changed()
            close()
          }
        }}
      >
        {own ? (
          <p>Another administrator can change your role or close your account.</p>
        ) : (
          <>
            <Choice label="Role" value={role} set={setRole} of={ROLES} />
            <Check label="The account may log in" checked={open} set={setOpen} />
          </>
        )}
        <Text label="New password" type="password" value={password} set={setPassword} minLength={12} autocomplete="new-password" hint="Left empty, it stays. A new one ends every login of the account." />
        {trouble && <Trouble of={trouble} />}
        <div class="row end">
          <Button onClick={close}>Cancel</Button>
          <Button kind="main" type="submit" busy={busy} disabled={own && !password}>
            Save
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
