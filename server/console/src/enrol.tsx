import { useEffect, useState } from "preact/hooks"
import { formOf, json, part } from "./api"
import { Overlay } from "./overlay"
import { photoOf, PhotoInput, type Photo } from "./photo"
import type { Box, Enrolled, Person } from "./types"
import { Button, Check, Dialog, Note, Text, Trouble, useAction } from "./ui"
import { to } from "./router"

const REASONS: Record<string, string> = {
  small_face: "the face has too few pixels",
  blurred: "the face is blurred",
  too_dark: "the face is too dark",
  too_bright: "the face is over-exposed",
  low_contrast: "the face has little contrast",
  noisy: "the face is noisy",
  extreme_pose: "the head is turned too far",
  occluded: "a part of the face seems hidden",
  cut_off: "the face reaches over the edge of the photo",
}

/** Enrols a photo: for `person`, for somebody new, or as a face of nobody known. */
export function EnrolDialog({ collection, person, close, enrolled }: {
  collection: string
  person?: Person
  close: () => void
  enrolled: (result: Enrolled) => void
}) {
  const [photo, setPhoto] = useState<Photo | null>(null)
  const [name, setName] = useState("")
  const [external, setExternal] = useState("")
  const [nobody, setNobody] = useState(false)
  const [result, setResult] = useState<Enrolled | null>(null)
  const [target, setTarget] = useState<number | null>(null)
  /** The photo's faces, once it was found to show several. */
  const [faces, setFaces] = useState<{ index: number; bbox: Box }[] | null>(null)
  const path = `/api/v1/collections/${part(collection)}`
  const { run, busy, trouble, clear } = useAction(async (more: { target?: number; gate?: boolean }) => {
    if (!photo) return
    const someone = !person && !nobody
    const face = more.target ?? target
    const form = formOf({
      file: photo.file,
      external_id: someone ? external.trim() || idOf(name) : null,
      name: someone ? name.trim() : null,
      target_face: face,
      quality_gate: more.gate === false ? false : null,
    })
    const answer = await json<Enrolled>(person ? `${path}/persons/${person.id}/faces` : `${path}/faces`, { form })
    setResult(answer)
    enrolled(answer)
  })
  const found = trouble?.code === "MULTIPLE_FACES" ? (trouble.members["faces"] as { index: number; bbox: Box }[]) : null
  useEffect(() => {
    if (found) setFaces(found)
  }, [found])
  const reasons = trouble?.code === "LOW_QUALITY" ? (trouble.members["reasons"] as string[]) : null
  const another = () => {
    setResult(null)
    setPhoto(null)
    setTarget(null)
    setFaces(null)
    // Whoever is on the next photo, it must not become a face of the person before by oversight.
    setName("")
    setExternal("")
    clear()
  }
  if (result) {
    return (
      <Dialog title="Enrolled" close={close}>
        <Note kind="good">
          {result.person ? (
            <>
              The face is one of{" "}
              <a href={to("gallery", collection, "persons", result.person.id)} onClick={close}>
                {result.person.name || result.person.external_id}
              </a>
              {result.person_created ? ", who is new here" : ""}.
            </>
          ) : (
            "The face is kept as one of nobody known."
          )}{" "}
          Its quality is {result.face.quality_score.toFixed(2)}.
        </Note>
        {result.identity?.matches_person === false && (
          <Note kind="warn">It is not like the other faces of this person. Is it the right person?</Note>
        )}
        {result.identity && result.identity.possible_duplicates.length > 0 && (
          <Note kind="warn">
            It is like faces of{" "}
            {result.identity.possible_duplicates.map((other, i) => (
              <>
                {i > 0 && ", "}
                <a href={to("gallery", collection, "persons", other.person.id)} onClick={close}>
                  {other.person.name || other.person.external_id}
                </a>{" "}
                ({other.similarity.toFixed(2)})
              </>
            ))}
            . Is somebody here twice?
          </Note>
        )}
        <div class="row end">
          <Button onClick={another}>Enrol another photo</Button>
          <Button kind="main" onClick={close}>
            Done
          </Button>
        </div>
      </Dialog>
    )
  }
  return (
    <Dialog title={person ? `A face of ${person.name || person.external_id}` : "Enrol a face"} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void run({})
        }}
      >
        {photo?.image && (
          <figure class="picture">
            <img src={photo.url} alt="The photo to enrol" />
            {faces && (
              <Overlay
                width={photo.width}
                height={photo.height}
                marks={faces.map(({ index, bbox }) => ({ box: bbox, lines: [String(index + 1)] }))}
                chosen={target === null ? null : faces.findIndex(({ index }) => index === target)}
              />
            )}
          </figure>
        )}
        <PhotoInput
          compact={photo !== null}
          label="a photo of one person"
          give={async (file) => {
            clear()
            setTarget(null)
            setFaces(null)
            setPhoto(await photoOf(file))
          }}
        />
        {!person && (
          <>
            <Check label="Nobody known: only keep the face" checked={nobody} set={setNobody} />
            {!nobody && (
              <>
                <Text label="Name" value={name} set={setName} required={external.trim() === ""} maxLength={200} />
                <Text
                  label="External id"
                  value={external}
                  set={setExternal}
                  maxLength={100}
                  hint="The name that your other programs have for the person. Left empty, it is made of the name; the same id adds a face to the same person."
                />
              </>
            )}
          </>
        )}
        {trouble && (

          <Trouble of={trouble} detail={!reasons}>
            {reasons && <p>The quality is {String(trouble.members["quality_score"])}:</p>}
            {reasons && reasons.length > 0 && (
              <ul>
                {reasons.map((reason) => (
                  <li key={reason}>{REASONS[reason] ?? reason}</li>
                ))}
              </ul>
            )}
            {reasons && (
              <Button busy={busy} onClick={() => run({ gate: false })}>
                Enrol it all the same
              </Button>
            )}
            {found && (
              <div class="row" role="group" aria-label="Which face">
                {found.map(({ index }) => (
                  <Button
                    key={index}
                    busy={busy}
                    onClick={() => {
                      setTarget(index)
                      void run({ target: index })
                    }}
                  >
                    Face {index + 1}
                  </Button>
                ))}
              </div>
            )}
          </Trouble>
        )}
        <div class="row end">
          <Button onClick={close}>Cancel</Button>
          <Button kind="main" type="submit" busy={busy} disabled={!photo}>
            Enrol
          </Button>
        </div>
      </form>
    </Dialog>
  )
}

/** An external id out of a name, with some digits that keep two of the same name apart. */
function idOf(name: string): string {
  const plain = name.normalize("NFKD").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").toLowerCase().slice(0, 60)
  const random = [...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(16).padStart(2, "0")).join("")
  return `${plain || "person"}-${random}`
}
