import { useState } from "preact/hooks"
import { logIn, setUp } from "../session"
import { Button, Note, Text, Title, Trouble, useAction } from "../ui"

/** Logging in; on a server without accounts, the first one with the token that the server printed. */
export function LogIn({ setup, why }: { setup: boolean; why: string | null }) {
  const [name, setName] = useState("")
  const [password, setPassword] = useState("")
  const [token, setToken] = useState("")
  const { run, busy, trouble } = useAction(() =>
    setup ? setUp(token.trim(), name.trim(), password) : logIn(name.trim(), password),
  )
  return (
    <>
      <Title>{setup ? "The first account" : "Log in"}</Title>
      {setup && (
        <p>
          Nobody has an account here yet. The server printed a token to standard error when it started; with it the first
          account, an administrator, is made once.
        </p>
      )}
      {why && !trouble && <Note>{why}</Note>}
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void run()
        }}
      >
        {setup && <Text label="Token" value={token} set={setToken} required autocomplete="off" spellcheck={false} />}
        <Text label={setup ? "User name" : "User name or email"} value={name} set={setName} required autocomplete="username" autocapitalize="off" />
        <Text
          label="Password"
          type="password"
          value={password}
          set={setPassword}
          required
          autocomplete={setup ? "new-password" : "current-password"}
          {...(setup ? { hint: "12 characters or more.", minLength: 12 } : {})}
        />
        {trouble && <Trouble of={trouble} />}
        <div class="row">
          <Button kind="main" type="submit" busy={busy}>
            {setup ? "Make the account" : "Log in"}
          </Button>
        </div>
      </form>
    </>
  )
}
