import { useEffect, useState } from "preact/hooks"

const BASE = "/console"

/** The parts of the path below `/console`, decoded. */
export function parts(): string[] {
  const below = location.pathname.slice(BASE.length)
  return below.split("/").filter(Boolean).map(decodeURIComponent)
}

/** Address of a page. */
export function to(...path: string[]): string {
  return [BASE, ...path.map(encodeURIComponent)].join("/") + (path.length === 0 ? "/" : "")
}

export function go(address: string, replace = false) {
  if (replace) history.replaceState(null, "", address)
  else history.pushState(null, "", address)
  dispatchEvent(new Event("route"))
}

export function useRoute(): string[] {
  const [path, set] = useState(parts)
  useEffect(() => {
    const changed = () => {
      set(parts())
      scrollTo(0, 0)
    }
    const clicked = (event: MouseEvent) => {
      const link = (event.target as Element).closest?.("a")
      const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey
      if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute("download")) return
      const own = link.origin === location.origin && (link.pathname === BASE || link.pathname.startsWith(BASE + "/"))
      if (!own || link.hash) return
      event.preventDefault()
      go(link.pathname)
    }
    addEventListener("route", changed)
    addEventListener("popstate", changed)
    document.addEventListener("click", clicked)
    return () => {
      removeEventListener("route", changed)
      removeEventListener("popstate", changed)
      document.removeEventListener("click", clicked)
    }
  }, [])
  return path
}
