import { useEffect, useState } from "preact/hooks"
import { formOf, json, part } from "../api"
import { EnrolDialog } from "../enrol"
import { Paged, usePages } from "../list"
import { Overlay } from "../overlay"
import { Crop, photoOf, PhotoInput, type Photo } from "../photo"
import { to } from "../router"
import { may } from "../session"
import type { Collection, Identified, Person } from "../types"
import { Busy, Button, Choice, Dialog, percent, sentence, Text, Title, Trouble, useAction, useLoaded, when } from "../ui"
import { bestMatches, nameOf } from "./analyse"
import { count } from "./collections"

export function CollectionPage({ name }: { name: string }) {
  const path = `/api/v1/collections/${part(name)}`
  const about = useLoaded((signal) => json<Collection>(path, { signal }), [name])
  const [typed, setTyped] = useState("")
  const [search, setSearch] = useState("")
  useEffect(() => {
    const timer = setTimeout(() => setSearch(typed.trim()), 250)
    return () => clearTimeout(timer)
  }, [typed])
  const list = usePages<Person>(`${path}/persons`, { limit: 25, name: search || null })
  const [dialog, setDialog] = useState<"enrol" | "identify" | null>(null)
  if (about.trouble) {
    return (
      <>
        <Title>{name}</Title>
        <Trouble of={about.trouble} />
        <a href={to("gallery")}>All collections</a>
      </>
    )
  }
  return (
    <>
      <nav aria-label="Above" class="crumbs">
        <a href={to("gallery")}>Gallery</a>
      </nav>
      <Title
        aside={
          <>
            {may("search") && <Button onClick={() => setDialog("identify")}>Identify a photo</Button>}
            {may("gallery:write") && (
              <Button kind="main" onClick={() => setDialog("enrol")}>
                Enrol a face
              </Button>
            )}
          </>
        }
      >
        {name}
      </Title>
      {about.value && (
        <p>
          {about.value.description && `${sentence(about.value.description)} `}
          {count(about.value.persons, "person")}, {count(about.value.faces, "face")}.{" "}
          <a href={to("gallery", name, "unknown")}>Faces of nobody known</a>
        </p>
      )}
      <Text label="Search persons" type="search" value={typed} set={setTyped} hint="A part of the name or of the external id." />
      <Paged list={list} empty={search ? "Nobody has a name like that." : "There is nobody here yet."}>
        {(items) => (
          <div class="scroll" tabIndex={0} role="region" aria-label="Persons">
            <table>
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">External id</th>
                  <th scope="col" class="number">
                    Faces
                  </th>
                  <th scope="col" class="wide">Since</th>
                </tr>
              </thead>
              <tbody>
                {items.map((person) => (
                  <tr key={person.id}>
                    <td>
                      <a href={to("gallery", name, "persons", person.id)}>{nameOf(person)}</a>
                    </td>
                    <td>
                      <code>{person.external_id}</code>
                    </td>
                    <td class="number">{person.faces}</td>
                    <td class="wide">{when(person.created_at)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Paged>
      {dialog === "enrol" && (
        <EnrolDialog
          collection={name}
          close={() => setDialog(null)}
          enrolled={() => {
            list.again()
            about.again()
          }}
        />
      )}
      {dialog === "identify" && <Identify collection={name} close={() => setDialog(null)} />}
    </>
  )
}

const LEVELS = [
  ["basic", "Basic: one in a hundred"],
  ["standard", "Standard: one in a thousand"],
  ["strict", "Strict: one in ten thousand"],
] as const

function Identify({ collection, close }: { collection: string; close: () => void }) {
  const [photo, setPhoto] = useState<Photo | null>(null)
  const [level, setLevel] = useState<(typeof LEVELS)[number][0]>("standard")
  const [answer, setAnswer] = useState<Identified | null>(null)
  const { run, busy, trouble } = useAction(async (from: Photo, sure: string) => {
    setAnswer(null)
    const form = formOf({ file: from.file, faces: "all", top_k: 5, verification_level: sure })
    setAnswer(await json<Identified>(`/api/v1/collections/${part(collection)}/identify`, { form }))
  })
  const lines = (face: Identified["faces"][number]) => {
    const best = bestMatches(face.matches, null)[0]
    return [best ? `${face.index + 1} · ${nameOf(best.person)}` : `${face.index + 1} · unknown`]
  }
  return (
    <Dialog title={`Whom of ${collection} does a photo show?`} close={close}>
      {photo?.image && (
        <figure class="picture">
          <img src={photo.url} alt="The photo that is looked at" />
          {answer && (
            <Overlay
              width={photo.width}
              height={photo.height}
              marks={answer.faces.map((face) => ({
                box: face.bbox,
                lines: lines(face),
                kind: face.matches.length > 0 ? "good" : "plain",
              }))}
            />
          )}
        </figure>
      )}
      <PhotoInput
        compact={photo !== null}
        give={async (file) => {
          const next = await photoOf(file)
          setPhoto(next)
          await run(next, level)
        }}
      />
      <Choice
        label="How sure a match must be: strangers that pass"
        value={level}
        set={(value) => {
          setLevel(value)
          if (photo) void run(photo, value)
        }}
        of={LEVELS}
      />
      {busy && <Busy>Looking through the collection</Busy>}
      {trouble && <Trouble of={trouble} />}
      {answer && photo && (
        <>
          <ul class="plain faces">
            {answer.faces.map((face) => {
              const matches = bestMatches(face.matches, null)
              return (
                <li key={face.index} class="row">
                  {photo.image && <Crop photo={photo} box={face.bbox} size={52} alt={`Face ${face.index + 1}`} />}
                  <div>
                    <strong>Face {face.index + 1}</strong>
                    {face.error ? (
                      <p>{sentence(face.error.detail)}</p>
                    ) : matches.length === 0 ? (
                      <p>Nobody known.</p>
                    ) : (
                      <ul class="plain">
                        {matches.map((match) => (
                          <li key={match.face_id}>
                            {match.person ? (
                              <a href={to("gallery", collection, "persons", match.person.id)}>{nameOf(match.person)}</a>
                            ) : (
                              nameOf(null)
                            )}{" "}
                            <span class="small">similarity {match.similarity.toFixed(2)}</span>
                          </li>
                        ))}
                      </ul>
                    )}
                  </div>
                </li>
              )
            })}
          </ul>
          <p class="small">
            {count(answer.searched, "embedding")} searched in {answer.search_time_ms} ms; threshold {answer.threshold.toFixed(2)}
            {answer.false_accept_rate !== null && `, at which ${percent(answer.false_accept_rate)} of strangers would pass`}.
          </p>
        </>
      )}
      <div class="row end">
        <Button onClick={close}>Close</Button>
      </div>
    </Dialog>
  )
}
