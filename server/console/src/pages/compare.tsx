import { useState } from "preact/hooks"
import { formOf, json } from "../api"
import { Overlay } from "../overlay"
import { Crop, photoOf, PhotoInput, type Photo } from "../photo"
import type { Comparison } from "../types"
import { Badge, Busy, Button, percent, Title, Trouble, useAction } from "../ui"

export function Compare() {
  const [photos, setPhotos] = useState<[Photo | null, Photo | null]>([null, null])
  const [answer, setAnswer] = useState<Comparison | null>(null)
  const { run, busy, trouble } = useAction(async (a: Photo, b: Photo) => {
    setAnswer(null)
    setAnswer(await json<Comparison>("/face-recognition/compare", { form: formOf({ file1: a.file, file2: b.file }) }))
  })
  const give = async (index: 0 | 1, file: Blob) => {
    const photo = await photoOf(file)
    const next: [Photo | null, Photo | null] = index === 0 ? [photo, photos[1]] : [photos[0], photo]
    setPhotos(next)
    setAnswer(null)
    if (next[0] && next[1]) await run(next[0], next[1])
  }
  const empty = photos[0] === null ? 0 : 1
  return (
    <>
      <Title>Compare two faces</Title>
      <p>The largest face of each photo is compared.</p>
      <div class="columns even">
        {([0, 1] as const).map((index) => {
          const photo = photos[index]
          return (
            <section key={index} aria-label={index === 0 ? "First photo" : "Second photo"}>
              <h2>{index === 0 ? "First photo" : "Second photo"}</h2>
              {photo?.image && (
                <figure class="picture">
                  <img src={photo.url} alt={index === 0 ? "The first photo" : "The second photo"} />
                  {answer && <Overlay width={photo.width} height={photo.height} marks={[{ box: answer.faces[index], lines: [] }]} />}
                </figure>
              )}
              {photo && !photo.image && <p class="none">The browser cannot show this file.</p>}
              <PhotoInput give={(file) => give(index, file)} label={index === 0 ? "the first photo" : "the second photo"} compact={photo !== null} paste={empty === index} />
            </section>
          )
        })}
      </div>
      {busy && <Busy>Comparing</Busy>}
      {trouble && (
        <Trouble of={trouble}>
          {photos[0] && photos[1] && (
            <Button onClick={() => photos[0] && photos[1] && run(photos[0], photos[1])}>Try again</Button>
          )}
        </Trouble>
      )}
      {answer && photos[0] && photos[1] && (
        <section class="card verdict" aria-live="polite">
          <div class="row middle">
            <Crop photo={photos[0]} box={answer.faces[0]} size={110} alt="Face of the first photo" />
            <Crop photo={photos[1]} box={answer.faces[1]} size={110} alt="Face of the second photo" />
          </div>
          <h2>
            <Badge kind={answer.is_same_person ? "good" : "bad"}>{answer.is_same_person ? "The same person" : "Two persons"}</Badge>
          </h2>
          <Scale similarity={answer.similarity} threshold={answer.threshold} />
          <dl>
            <div>
              <dt>Similarity</dt>
              <dd>{answer.similarity.toFixed(3)}</dd>
            </div>
            <div>
              <dt>Threshold</dt>
              <dd>
                {answer.threshold.toFixed(3)}, at which {percent(answer.false_accept_rate)} of strangers would pass
              </dd>
            </div>
            <div>
              <dt>Networks</dt>
              <dd>
                <code>{answer.model}</code>
              </dd>
            </div>
          </dl>
        </section>
      )}
    </>
  )
}

/** Similarity and threshold on one line from -1 to 1. */
function Scale({ similarity, threshold }: { similarity: number; threshold: number }) {
  const x = (value: number) => 4 + ((Math.max(-1, Math.min(1, value)) + 1) / 2) * 192
  const label = `Similarity ${similarity.toFixed(3)}, threshold ${threshold.toFixed(3)}, between -1 and 1`
  return (
    <svg class="scale" viewBox="0 0 200 26" role="img" aria-label={label}>
      <line class="track" x1="4" x2="196" y1="14" y2="14" />
      <line class="same" x1={x(threshold)} x2="196" y1="14" y2="14" />
      <line class="limit" x1={x(threshold)} x2={x(threshold)} y1="7" y2="21" />
      <circle class={similarity >= threshold ? "good" : "bad"} cx={x(similarity)} cy="14" r="5" />
    </svg>
  )
}
