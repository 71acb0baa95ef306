import { h, type ComponentChildren, type JSX } from "preact"
import { useCallback, useEffect, useId, useRef, useState } from "preact/hooks"
import { advice, problem, type Problem } from "./problem"

/** A refusal, in the API's own words, with what to do. */
export function Trouble({ of, children, detail = true }: { of: Problem; children?: ComponentChildren; detail?: boolean }) {
  const what = advice(of)
  const ref = useRef<HTMLDivElement>(null)
  // What failed may have been begun further up.
  useEffect(() => ref.current?.scrollIntoView({ block: "nearest" }), [of])
  return (
    <div ref={ref} class="notice bad" role="alert">
      <strong>{of.title}</strong>
      {detail && <p>{sentence(of.detail)}</p>}
      {what && <p class="what">{what}</p>}
      {children}
      {(of.status >= 500 || of.status === 0) && of.requestId && (
        <p class="small">
          Request <code>{of.requestId}</code>
        </p>
      )}
    </div>
  )
}

/** The API's details begin in lower case and have no full stop. */
export function sentence(text: string): string {
  // The name of a network stays as it is written.
  const word = text.split(" ", 1)[0] ?? ""
  const first = /[-_.:]/.test(word) ? text : text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(first) ? first : first + "."
}

export function Note({ kind = "info", children }: { kind?: "info" | "good" | "warn"; children: ComponentChildren }) {
  return (
    <div class={`notice ${kind}`} role="status">
      {children}
    </div>
  )
}

export function Busy({ children = "Loading" }: { children?: ComponentChildren }) {
  return (
    <p class="busy" role="status">
      <span class="spinner" aria-hidden="true" />
      {children}
    </p>
  )
}

export function Badge({ kind, children }: { kind: "good" | "warn" | "bad" | "plain"; children: ComponentChildren }) {
  return <span class={`badge ${kind}`}>{children}</span>
}

export function Meter({ value, max = 1, label, mark }: { value: number; max?: number; label: string; mark?: number }) {
  const width = max > 0 ? Math.min(1, Math.max(0, value / max)) * 100 : 0
  const over = value > max
  return (
    <svg class={over ? "meter over" : "meter"} viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label={label}>
      <rect class="track" width="100" height="6" rx="1.5" />
      <rect class="value" width={width} height="6" rx="1.5" />
      {mark !== undefined && <rect class="mark" x={Math.min(99, Math.max(0, (mark / max) * 100 - 0.5))} width="1" height="6" />}
    </svg>
  )
}

type ButtonProps = Omit<JSX.IntrinsicElements["button"], "class"> & { kind?: "main" | "plain" | "danger" | "quiet"; busy?: boolean }

export function Button({ kind = "plain", busy = false, children, disabled, ...rest }: ButtonProps) {
  return (
    <button type="button" class={`button ${kind}`} disabled={busy || disabled} aria-busy={busy || undefined} {...rest}>
      {busy && <span class="spinner" aria-hidden="true" />}
      {children}
    </button>
  )
}

export function Field({ label, hint, children }: { label: string; hint?: string; children: (id: string) => ComponentChildren }) {
  const id = useId()
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(id)}
      {hint && <p class="small">{hint}</p>}
    </div>
  )
}

interface TextProps {
  label: string
  hint?: string
  value: string
  set: (value: string) => void
  type?: "text" | "password" | "email" | "search" | "number" | "date"
  required?: boolean
  minLength?: number
  maxLength?: number
  min?: number
  max?: number
  step?: number
  autocomplete?: "off" | "username" | "current-password" | "new-password"
  autocapitalize?: "off"
  spellcheck?: boolean
}

export function Text({ label, hint, value, set, type = "text", ...rest }: TextProps) {
  return (
    <Field label={label} {...(hint ? { hint } : {})}>
      {(id) => {
        // The types of an input depend on its kind, which is known only when it is made.
        const all = { ...rest, id, type, value, onInput: (e: { currentTarget: HTMLInputElement }) => set(e.currentTarget.value) }
        return h("input", all as object)
      }}
    </Field>
  )
}

export function Choice<T extends string>({ label, value, set, of, hint }: {
  label: string
  value: T
  set: (value: T) => void
  of: readonly (readonly [T, string])[]
  hint?: string
}) {
  return (
    <Field label={label} {...(hint ? { hint } : {})}>
      {(id) => (
        <select id={id} value={value} onChange={(e) => set(e.currentTarget.value as T)}>
          {of.map(([key, text]) => (
            <option key={key} value={key} selected={key === value}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  )
}

export function Check({ label, checked, set }: { label: string; checked: boolean; set: (checked: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={(e) => set(e.currentTarget.checked)} />
      {label}
    </label>
  )
}

/** Asks before something that cannot be undone. */
export function Confirm({ title, children, act, word, close }: {
  title: string
  children: ComponentChildren
  act: () => Promise<void>
  word: string
  close: () => void
}) {
  const { run, busy, trouble } = useAction(act)
  return (
    <Dialog title={title} close={close}>
      {children}
      {trouble && <Trouble of={trouble} />}
      <div class="row end">
        <Button onClick={close}>Keep</Button>
        <Button kind="danger" busy={busy} onClick={async () => (await run()) && close()}>
          {word}
        </Button>
      </div>
    </Dialog>
  )
}

export function Dialog({ title, children, close }: { title: string; children: ComponentChildren; close: () => void }) {
  const ref = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const before = document.activeElement
    ref.current?.showModal()
    return () => before instanceof HTMLElement && before.focus()
  }, [])
  return (
    <dialog ref={ref} aria-labelledby={id} onCancel={(e) => (e.preventDefault(), close())}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  )
}

/** An action that somebody begins: whether it is under way, and how it failed. `run` gives whether it succeeded. */
export function useAction<A extends unknown[]>(act: (...args: A) => Promise<unknown>) {
  const [busy, setBusy] = useState(false)
  const [trouble, setTrouble] = useState<Problem | null>(null)
  const run = async (...args: A): Promise<boolean> => {
    setBusy(true)
    setTrouble(null)
    try {
      await act(...args)
      return true
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) setTrouble(problem(error))
      return false
    } finally {
      setBusy(false)
    }
  }
  return { run, busy, trouble, clear: useCallback(() => setTrouble(null), []) }
}

/** What a page shows: loaded at once and again when `keys` change or `again` is called. */
export function useLoaded<T>(load: (signal: AbortSignal) => Promise<T>, keys: unknown[]) {
  const [value, setValue] = useState<T | null>(null)
  const [trouble, setTrouble] = useState<Problem | null>(null)
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    const stop = new AbortController()
    load(stop.signal).then(
      (loaded) => {
        if (stop.signal.aborted) return
        setValue(loaded)
        setTrouble(null)
      },
      (error: unknown) => {
        if (!stop.signal.aborted) setTrouble(problem(error))
      },
    )
    return () => stop.abort()
    // The function itself is new each time.
  }, [...keys, turn])
  const again = useCallback(() => setTurn((n) => n + 1), [])
  return { value, trouble, again, setValue }
}

/** Calls `act` again and again while `on`, never twice at once. */
export function usePolling(act: () => Promise<unknown>, seconds: number, on: boolean) {
  const latest = useRef(act)
  latest.current = act
  useEffect(() => {
    if (!on) return
    let stopped = false
    let timer = 0
    const next = () => {
      timer = window.setTimeout(async () => {
        // A page that nobody looks at asks nothing.
        if (!document.hidden) await latest.current().catch(() => {})
        if (!stopped) next()
      }, seconds * 1000)
    }
    next()
    return () => {
      stopped = true
      clearTimeout(timer)
    }
  }, [seconds, on])
}

export function Title({ children, aside }: { children: ComponentChildren; aside?: ComponentChildren }) {
  const ref = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = `${ref.current?.textContent ?? ""} · FaceSocial`
  })
  return (
    <header class="title">
      <h1 ref={ref} tabIndex={-1}>
        {children}
      </h1>
      {aside && <div class="row">{aside}</div>}
    </header>
  )
}

export function when(text: string | null): string {
  if (!text) return "never"
  const date = new Date(text)
  return Number.isNaN(date.getTime()) ? text : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })
}

export function duration(seconds: number): string {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), Math.floor(seconds % 60)]
  if (h >= 48) return `${Math.floor(h / 24)} days`
  return h > 0 ? `${h} h ${m} min` : m > 0 ? `${m} min ${s} s` : `${s} s`
}

export function percent(rate: number): string {
  return `${+(rate * 100).toPrecision(2)} %`
}

/** Gives a file to the person in front of the page. */
export function save(blob: Blob, name: string) {
  const url = URL.createObjectURL(blob)
  const link = document.createElement("a")
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}
