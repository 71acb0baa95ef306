import type { ComponentChildren } from "preact"
import { useEffect, useState } from "preact/hooks"
import { json, query } from "./api"
import { problem, type Problem } from "./problem"
import type { Page } from "./types"
import { Busy, Button, Trouble } from "./ui"

/** A list that is read page by page. */
export function usePages<T>(path: string, values: Record<string, string | number | null>) {
  const [items, setItems] = useState<T[] | null>(null)
  const [next, setNext] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const [trouble, setTrouble] = useState<Problem | null>(null)
  const [turn, setTurn] = useState(0)
  const key = path + query(values)
  const read = async (cursor: string | null, signal?: AbortSignal) => {
    setBusy(true)
    try {
      const page = await json<Page<T>>(path + query({ ...values, cursor }), signal ? { signal } : {})
      setItems((before) => (cursor && before ? [...before, ...page.items] : page.items))
      setNext(page.next_cursor)
      setTrouble(null)
    } catch (error) {
      if (!signal?.aborted) setTrouble(problem(error))
    } finally {
      setBusy(false)
    }
  }
  useEffect(() => {
    const stop = new AbortController()
    void read(null, stop.signal)
    return () => stop.abort()
  }, [key, turn])
  return { items, next, busy, trouble, more: () => read(next), again: () => setTurn((n) => n + 1), setItems }
}

/** What surrounds such a list: loading, failing, being empty, going on. */
export function Paged<T>({ list, empty, children }: {
  list: ReturnType<typeof usePages<T>>
  empty: ComponentChildren
  children: (items: T[]) => ComponentChildren
}) {
  const { items, next, busy, trouble } = list
  return (
    <>
      {trouble && (
        <Trouble of={trouble}>
          <Button onClick={list.again}>Try again</Button>
        </Trouble>
      )}
      {items === null ? !trouble && <Busy /> : items.length === 0 ? <p class="empty">{empty}</p> : children(items)}
      {next && (
        <Button busy={busy} onClick={list.more}>
          Show more
        </Button>
      )}
    </>
  )
}
