import { useEffect, useState } from "preact/hooks"
import * as api from "./api"
import { problem, type Problem } from "./problem"
import type { Account } from "./types"

/** Who sits in front of the page. */
export type Session =
  | { state: "starting"; problem: Problem | null }
  /** The server asks nobody for an account. */
  | { state: "open" }
  | { state: "out"; setup: boolean; why: string | null }
  | { state: "in"; account: Account }

let session: Session = { state: "starting", problem: null }
const listeners = new Set<() => void>()

function set(next: Session) {
  session = next
  for (const listener of listeners) listener()
}

export function useSession(): Session {
  const [, draw] = useState(0)
  useEffect(() => {
    const listener = () => draw((n) => n + 1)
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }, [])
  return session
}

/** What may be offered. The server decides all the same. */
export function may(permission: string): boolean {
  if (session.state === "in") return session.account.permissions.includes(permission)
  // Keys and the own account belong to accounts, and nobody has one here.
  return session.state === "open" && permission !== "account" && permission !== "keys"
}

/**
 * The refresh token outlives a reload, and nothing else: it is written when the page goes and taken out when it comes
 * back, so that no copy of the tab and no script that reads the storage later finds it.
 */
const PLACE = "facesocial.refresh"

function takeKept(): string | null {
  const kept = sessionStorage.getItem(PLACE)
  sessionStorage.removeItem(PLACE)
  return kept
}

addEventListener("pagehide", () => {
  const token = api.refreshToken()
  if (token) sessionStorage.setItem(PLACE, token)
})
addEventListener("pageshow", (event) => {
  if (event.persisted) sessionStorage.removeItem(PLACE)
})

async function enter() {
  set({ state: "in", account: await api.json<Account>("/api/v1/account") })
}

export async function begin() {
  const kept = takeKept()
  for (;;) {
    try {
      const access = await api.json<{ required: boolean; setup: boolean }>("/api/v1/auth/status")
      if (!access.required) return set({ state: "open" })
      if (kept) {
        try {
          // A refresh token serves once: what was renewed before something else failed is not renewed again.
          if (api.refreshToken() === null) await api.renew(kept)
          return await enter()
        } catch (error) {
          if (problem(error).status !== 401) throw error
          api.forget()
        }
      }
      return set({ state: "out", setup: access.setup, why: null })
    } catch (error) {
      set({ state: "starting", problem: problem(error) })
      await new Promise((resolve) => setTimeout(resolve, 2000))
    }
  }
}

export async function logIn(username: string, password: string) {
  await api.logIn(username, password)
  await enter()
}

export async function setUp(token: string, username: string, password: string) {
  await api.done("/api/v1/auth/setup", { json: { token, username, password } })
  await logIn(username, password)
}

export async function refreshAccount() {
  if (session.state === "in") await enter()
}

export async function logOut(all = false) {
  try {
    await api.done("/api/v1/auth/logout", { method: "POST", json: { all } })
  } finally {
    api.forget()
    sessionStorage.removeItem(PLACE)
    set({ state: "out", setup: false, why: "You have logged out." })
  }
}

api.onLoginEnded(() => {
  sessionStorage.removeItem(PLACE)
  set({ state: "out", setup: false, why: "The login has ended. Log in again." })
})
