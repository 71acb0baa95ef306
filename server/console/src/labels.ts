import type { Box } from "./types"

/** Where a label goes: its top left corner, in the picture's pixels. */
export interface Place {
  x: number
  y: number
  width: number
  height: number
}

const overlap = (a: Box | Place, b: Box | Place) =>
  Math.max(0, Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x)) *
  Math.max(0, Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y))

/**
 * Places one label for each box: above it, below, at its sides or inside, wherever it covers least of the labels placed
 * before and of the other faces. `gap` is the distance between box and label.
 */
export function placeLabels(
  boxes: readonly Box[],
  sizes: readonly { width: number; height: number }[],
  picture: { width: number; height: number },
  gap: number,
): Place[] {
  const placed: Place[] = []
  boxes.forEach((box, index) => {
    const { width, height } = sizes[index] ?? { width: 0, height: 0 }
    const [left, right] = [box.x, box.x + box.width - width]
    const [above, below] = [box.y - height - gap, box.y + box.height + gap]
    const middle = box.x + (box.width - width) / 2
    const wanted: [number, number][] = [
      [left, above],
      [middle, above],
      [right, above],
      [left, below],
      [middle, below],
      [right, below],
      [box.x + box.width + gap, box.y],
      [box.x - width - gap, box.y],
      [left, box.y + gap],
      [left, box.y + box.height - height - gap],
    ]
    let best: Place | null = null
    let least = Infinity
    for (const [order, [x, y]] of wanted.entries()) {
      const place = {
        x: Math.max(0, Math.min(x, picture.width - width)),
        y: Math.max(0, Math.min(y, picture.height - height)),
        width,
        height,
      }
      const onLabels = placed.reduce((sum, other) => sum + overlap(place, other), 0)
      const onOthers = boxes.reduce((sum, other, i) => sum + (i === index ? 0 : overlap(place, other)), 0)
      // A label on a label cannot be read; one on a face hides what it is about.
      const cost = (4 * onLabels + onOthers + 0.8 * overlap(place, box)) / Math.max(1, width * height) + order * 0.01
      if (cost < least) [best, least] = [place, cost]
    }
    if (best) placed.push(best)
  })
  return placed
}

/** Whether no label covers another, or a face that is not its own. */
export function areFree(places: readonly Place[], boxes: readonly Box[]): boolean {
  return places.every((place, i) => {
    const clear = places.every((other, j) => i === j || overlap(place, other) === 0)
    return clear && boxes.every((box, j) => i === j || overlap(place, box) <= 0.05 * place.width * place.height)
  })
}
