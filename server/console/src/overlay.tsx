import { useEffect, useRef, useState } from "preact/hooks"
import { areFree, placeLabels } from "./labels"
import type { Box } from "./types"

/** What is drawn on one face. */
export interface Mark {
  box: Box
  points?: { x: number; y: number }[] | undefined
  /** Lines of its label; the first is bold. */
  lines: string[]
  kind?: "good" | "warn" | "bad" | "plain"
}

const FONT = 13
const PAD = 5

let context: CanvasRenderingContext2D | null = null

function textWidth(text: string, bold: boolean): number {
  context ??= document.createElement("canvas").getContext("2d")
  if (!context) return text.length * FONT * 0.6
  context.font = `${bold ? 600 : 400} ${FONT}px system-ui, sans-serif`
  return context.measureText(text).width
}

/** Marks over a picture or a video of `width` by `height` pixels; labels keep their size on the screen. */
export function Overlay({ width, height, marks, chosen, choose, mirrored = false }: {
  width: number
  height: number
  marks: Mark[]
  chosen?: number | null
  choose?: (index: number) => void
  mirrored?: boolean
}) {
  const ref = useRef<SVGSVGElement>(null)
  const [shown, setShown] = useState(0)
  useEffect(() => {
    const svg = ref.current
    if (!svg) return
    const observer = new ResizeObserver(([entry]) => setShown(entry?.contentRect.width ?? 0))
    observer.observe(svg)
    return () => observer.disconnect()
  }, [])
  const unit = shown > 0 ? width / shown : 1
  const boxes = marks.map(({ box }) => (mirrored ? { ...box, x: width - box.x - box.width } : box))
  const placed = (lines: string[][]) => {
    const sizes = lines.map((texts) => ({
      width: (Math.max(...texts.map((text, i) => textWidth(text, i === 0)), 0) + 2 * PAD) * unit,
      height: (texts.length * (FONT + 4) + PAD) * unit,
    }))
    return { lines, places: placeLabels(boxes, sizes, { width, height }, 3 * unit) }
  }
  // Where there is no room for all words, there may be for the first line; the number alone leads to the list beside.
  const ways = [
    (mark: Mark) => mark.lines,
    (mark: Mark) => mark.lines.slice(0, 1),
    (mark: Mark) => mark.lines.slice(0, 1).map((line) => line.split(" · ")[0] ?? line),
  ]
  const tried = ways.map((way) => placed(marks.map(way)))
  const { lines, places } = tried.find(({ places }) => areFree(places, boxes)) ?? tried[tried.length - 1]!
  return (
    <svg
      ref={ref}
      class="overlay"
      viewBox={`0 0 ${width} ${height}`}
      role="img"
      aria-label={marks.length === 1 ? "One face is marked" : `${marks.length} faces are marked`}
    >
      {marks.map((mark, i) => {
        const [box, place] = [boxes[i]!, places[i]!]
        const kind = mark.kind ?? "plain"
        return (
          <g key={i} class={`mark ${kind}${chosen === i ? " chosen" : ""}`} onClick={() => choose?.(i)}>
            <rect class="halo" x={box.x} y={box.y} width={box.width} height={box.height} rx={4 * unit} stroke-width={4 * unit} />
            <rect class="box" x={box.x} y={box.y} width={box.width} height={box.height} rx={4 * unit} stroke-width={(chosen === i ? 3 : 2) * unit} />
            {mark.points?.map((point, n) => (
              <circle key={n} cx={mirrored ? width - point.x : point.x} cy={point.y} r={2.2 * unit} stroke-width={unit} />
            ))}
            {lines[i]!.length > 0 && (
              <>
                <rect class="label" x={place.x} y={place.y} width={place.width} height={place.height} rx={3 * unit} />
                {lines[i]!.map((text, n) => (
                  <text
                    key={n}
                    x={place.x + PAD * unit}
                    y={place.y + (PAD / 2 + (n + 1) * (FONT + 4) - 5) * unit}
                    font-size={FONT * unit}
                    font-weight={n === 0 ? 600 : 400}
                  >
                    {text}
                  </text>
                ))}
              </>
            )}
          </g>
        )
      })}
    </svg>
  )
}
