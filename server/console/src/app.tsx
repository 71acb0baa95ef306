import type { ComponentChildren } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import { begin, logOut, may, useSession } from "./session"
import { go, to, useRoute } from "./router"
import { theme, setTheme, type Theme } from "./theme"
import { Busy, Button, Title, Trouble } from "./ui"
import { Account } from "./pages/account"
import { Analyse } from "./pages/analyse"
import { Compare } from "./pages/compare"
import { Collections } from "./pages/collections"
import { CollectionPage } from "./pages/collection"
import { HealthPage } from "./pages/health"
import { Jobs, JobPage } from "./pages/jobs"
import { Keys } from "./pages/keys"
import { Live } from "./pages/live"
import { LogIn } from "./pages/login"
import { ModelsPage } from "./pages/models"
import { PersonPage } from "./pages/person"
import { Unknown } from "./pages/unknown"
import { Users } from "./pages/users"

/** Pages of the menu, each with the permission that it needs. */
const MENU = [
  ["analyse", "Analyse", "analyze"],
  ["compare", "Compare", "analyze"],
  ["live", "Live", "analyze"],
  ["gallery", "Gallery", "gallery:read"],
  ["jobs", "Jobs", "jobs"],
  ["models", "Models", "operate"],
  ["health", "Health", null],
  ["users", "Users", "users"],
  ["keys", "Keys", "keys"],
] as const

function page([first, second, third, fourth]: string[]): ComponentChildren {
  const item = MENU.find(([name]) => name === first)
  if (item?.[2] && !may(item[2])) return <NotHere why="Your account may not see this page." />
  switch (first) {
    case "analyse":
      return <Analyse />
    case "compare":
      return <Compare />
    case "live":
      return <Live />
    case "gallery":
      if (second === undefined) return <Collections />
      if (third === "unknown") return <Unknown key={second} collection={second} />
      if (third === "persons" && fourth) return <PersonPage key={second + fourth} collection={second} id={fourth} />
      return third === undefined ? <CollectionPage key={second} name={second} /> : <NotHere />
    case "jobs":
      return second ? <JobPage key={second} id={second} /> : <Jobs />
    case "models":
      return <ModelsPage />
    case "health":
      return <HealthPage />
    case "users":
      return <Users />
    case "keys":
      return <Keys />
    case "account":
      return may("account") ? <Account /> : <NotHere why="Without authentication there are no accounts of one's own." />
    default:
      return <NotHere />
  }
}

function NotHere({ why = "There is no page at this address." }: { why?: string }) {
  return (
    <>
      <Title>Not here</Title>
      <p>{why}</p>
      <p>
        <a href={to("analyse")}>Go to Analyse</a>
      </p>
    </>
  )
}

function ThemeSwitch() {
  const [value, set] = useState<Theme>(theme())
  const next: Record<Theme, Theme> = { auto: "dark", dark: "light", light: "auto" }
  const word: Record<Theme, string> = { auto: "as the system", dark: "dark", light: "light" }
  return (
    <Button
      kind="quiet"
      onClick={() => {
        setTheme(next[value])
        set(next[value])
      }}
    >
      Colours: {word[value]}
    </Button>
  )
}

export function App() {
  const session = useSession()
  const route = useRoute()
  const [open, setOpen] = useState(false)
  const main = useRef<HTMLElement>(null)
  const address = route.join("/")
  const first = useRef(true)
  useEffect(() => void begin(), [])
  useEffect(() => {
    if (address === "") go(to("analyse"), true)
  }, [address])
  useEffect(() => {
    setOpen(false)
    // Whoever cannot see that the page changed hears its heading.
    if (!first.current) main.current?.querySelector("h1")?.focus()
    first.current = false
  }, [address])

  if (session.state === "starting") {
    return (
      <main class="alone">
        <Wordmark />
        {session.problem ? (
          <Trouble of={session.problem}>
            <Busy>Trying again</Busy>
          </Trouble>
        ) : (
          <Busy>Asking the server</Busy>
        )}
      </main>
    )
  }
  if (session.state === "out") {
    return (
      <main class="alone">
        <Wordmark />
        <LogIn setup={session.setup} why={session.why} />
        <ThemeSwitch />
      </main>
    )
  }
  const menu = MENU.filter(([, , permission]) => permission === null || may(permission))
  return (
    <>
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <header class="side">
        <div class="top">
          <Wordmark />
          <button type="button" class="button quiet menu" aria-expanded={open} aria-controls="menu" onClick={() => setOpen(!open)}>
            Menu
          </button>
        </div>
        <div id="menu" class={open ? "open" : ""}>
          <nav aria-label="Pages">
            <ul>
              {menu.map(([name, text]) => (
                <li key={name}>
                  <a href={to(name)} aria-current={route[0] === name ? "page" : undefined}>
                    {text}
                  </a>
                </li>
              ))}
            </ul>
          </nav>
          <div class="foot">
            <a href="/docs">API documents</a>
            <ThemeSwitch />
            {session.state === "in" ? (
              <>
                <a href={to("account")} aria-current={route[0] === "account" ? "page" : undefined}>
                  {session.account.username} <span class="small">{session.account.role}</span>
                </a>
                <Button kind="quiet" onClick={() => void logOut().catch(() => {})}>
                  Log out
                </Button>
              </>
            ) : (
              <p class="small">Authentication is off: everything is allowed on this machine.</p>
            )}
          </div>
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {page(route)}
      </main>
    </>
  )
}

function Wordmark() {
  return (
    <span class="wordmark">
      <svg viewBox="0 0 32 32" aria-hidden="true">
        <path d="M4 11V7a3 3 0 0 1 3-3h4M21 4h4a3 3 0 0 1 3 3v4M28 21v4a3 3 0 0 1-3 3h-4M11 28H7a3 3 0 0 1-3-3v-4" />
        <path d="M12 13v1M20 13v1M11.500 19.500c2.400 2.600 6.600 2.600 9 0" />
      </svg>
      FaceSocial
    </span>
  )
}
