import { Problem } from "./problem"

/** The pair of tokens of a login. Both live in memory; see `session.ts` for what outlives a reload. */
interface Tokens {
  access: string
  refresh: string
  /** When the access token ends, in milliseconds of `performance.now()`. */
  ends: number
}

interface LoggedIn {
  access_token: string
  refresh_token: string
  expires_in: number
}

/** A token that ends within this time is renewed before it is used. */
const MARGIN_MS = 20_000

let tokens: Tokens | null = null
let renewal: Promise<void> | null = null
let ended: () => void = () => {}

/** Calls `then` once the login is found to have ended. */
export function onLoginEnded(then: () => void) {
  ended = then
}

export function refreshToken(): string | null {
  return tokens?.refresh ?? null
}

/** An access token that is good now, for the live connection; null where nobody is logged in. */
export async function accessToken(): Promise<string | null> {
  if (tokens) await fresh()
  return tokens?.access ?? null
}

export function forget() {
  tokens = null
}

async function take(body: { path: string; json: unknown }) {
  const response = await send(body.path, { method: "POST", json: body.json })
  const answer = (await response.json()) as LoggedIn
  tokens = {
    access: answer.access_token,
    refresh: answer.refresh_token,
    ends: performance.now() + answer.expires_in * 1000,
  }
}

export async function logIn(username: string, password: string) {
  await take({ path: "/api/v1/auth/login", json: { username, password } })
}

/** The next pair of tokens. Each refresh token serves once, so that there is never more than one renewal under way. */
export function renew(refresh: string): Promise<void> {
  renewal ??= take({ path: "/api/v1/auth/refresh", json: { refresh_token: refresh } }).finally(() => {
    renewal = null
  })
  return renewal
}

async function fresh() {
  if (renewal) return await renewal
  if (tokens && tokens.ends - performance.now() < MARGIN_MS) await renew(tokens.refresh)
}

export interface Options {
  method?: string
  json?: unknown
  form?: FormData
  signal?: AbortSignal
  headers?: Record<string, string>
}

async function send(path: string, options: Options, token?: string): Promise<Response> {
  const headers = new Headers(options.headers)
  if (token) headers.set("authorization", `Bearer ${token}`)
  let body: BodyInit | null = options.form ?? null
  if (options.json !== undefined) {
    headers.set("content-type", "application/json")
    body = JSON.stringify(options.json)
  }
  let response: Response
  try {
    response = await fetch(path, {
      method: options.method ?? (body ? "POST" : "GET"),
      headers,
      body,
      credentials: "omit",
      ...(options.signal ? { signal: options.signal } : {}),
    })
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error
    throw new Problem(0, "UNREACHABLE", "No answer", "the server cannot be reached from this page")
  }
  if (!response.ok) throw await Problem.of(response)
  return response
}

/** Asks the API; renews the access token where it has ended. */
export async function ask(path: string, options: Options = {}): Promise<Response> {
  try {
    if (tokens) await fresh()
    const used = tokens
    try {
      return await send(path, options, used?.access)
    } catch (error) {
      if (!(error instanceof Problem && error.status === 401 && used)) throw error
      // Somebody else may have renewed it while this one was refused.
      if (tokens === used) await renew(used.refresh)
      return await send(path, options, tokens?.access)
    }
  } catch (error) {
    if (error instanceof Problem && error.status === 401 && tokens) {
      forget()
      ended()
    }
    throw error
  }
}

export async function json<T>(path: string, options: Options = {}): Promise<T> {
  return (await (await ask(path, options)).json()) as T
}

/** For answers that have no body that matters. */
export async function done(path: string, options: Options): Promise<void> {
  await ask(path, options)
}

/** Part of a path, or a value of a query. */
export const part = encodeURIComponent

export function query(values: Record<string, string | number | null | undefined>): string {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "")
  return kept.length === 0 ? "" : "?" + kept.map(([name, value]) => `${name}=${part(String(value))}`).join("&")
}

export function formOf(values: Record<string, string | Blob | number | boolean | null | undefined>): FormData {
  const form = new FormData()
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "") continue
    if (value instanceof Blob) form.append(name, value, value instanceof File ? value.name : "photo.jpg")
    else form.append(name, String(value))
  }
  return form
}
