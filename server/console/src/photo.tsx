import { useEffect, useRef, useState } from "preact/hooks"
import type { ComponentChildren } from "preact"
import { ask } from "./api"
import { Camera } from "./camera"
import type { Box } from "./types"
import { Button } from "./ui"

/** A photo that was chosen, as the browser shows it. */
export interface Photo {
  file: Blob
  url: string
  /** Pixels of the upright photo; 0 where the browser cannot show the format. */
  width: number
  height: number
  image: HTMLImageElement | null
}

export async function photoOf(file: Blob): Promise<Photo> {
  const url = URL.createObjectURL(file)
  const image = new Image()
  image.src = url
  try {
    await image.decode()
    return { file, url, width: image.naturalWidth, height: image.naturalHeight, image }
  } catch {
    // The server reads formats that browsers do not, such as TIFF; and it says what is wrong with the others.
    return { file, url, width: 0, height: 0, image: null }
  }
}

/** Takes a photo: dropped, chosen, pasted, or from the camera. */
export function PhotoInput({ give, label = "a photo", paste = true, compact = false, children }: {
  give: (file: Blob) => void
  label?: string
  /** Whether what is pasted on the page is meant for this one. */
  paste?: boolean
  compact?: boolean
  children?: ComponentChildren
}) {
  const input = useRef<HTMLInputElement>(null)
  const [over, setOver] = useState(false)
  const [camera, setCamera] = useState(false)
  const latest = useRef(give)
  latest.current = give
  useEffect(() => {
    if (!paste) return
    const pasted = (event: ClipboardEvent) => {
      const file = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"))
      if (!file) return
      event.preventDefault()
      latest.current(file)
    }
    addEventListener("paste", pasted)
    return () => removeEventListener("paste", pasted)
  }, [paste])
  return (
    <div
      class={`drop${over ? " over" : ""}${compact ? " compact" : ""}`}
      onDragOver={(event) => {
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault()
        setOver(false)
        const file = event.dataTransfer?.files[0]
        if (file) give(file)
      }}
    >
      {camera ? (
        <Camera
          close={() => setCamera(false)}
          take={(file) => {
            setCamera(false)
            give(file)
          }}
        />
      ) : (
        <>
          {!compact && (
            <p>
              Drop {label} here{paste ? ", paste it" : ""}, or
            </p>
          )}
          <div class="row middle">
            <Button kind={compact ? "plain" : "main"} onClick={() => input.current?.click()}>
              {compact ? "Another photo" : "Choose a file"}
            </Button>
            <Button onClick={() => setCamera(true)}>Use the camera</Button>
            {children}
          </div>
          {!compact && <p class="small">JPEG, PNG, WebP, BMP, GIF or TIFF. It goes to this server and nowhere else.</p>}
        </>
      )}
      <input
        ref={input}
        type="file"
        class="hidden"
        tabIndex={-1}
        aria-label={`File with ${label}`}
        accept="image/*,.tif,.tiff,.bmp"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0]
          event.currentTarget.value = ""
          if (file) give(file)
        }}
      />
    </div>
  )
}

/** A face cut out of a photo in the browser. */
export function Crop({ photo, box, size = 72, alt }: { photo: Photo; box: Box; size?: number; alt: string }) {
  const ref = useRef<HTMLCanvasElement>(null)
  useEffect(() => {
    const context = ref.current?.getContext("2d")
    if (!context || !photo.image) return
    const side = Math.max(box.width, box.height) * 1.35
    const [x, y] = [box.x + (box.width - side) / 2, box.y + (box.height - side) / 2]
    const pixels = size * 2
    context.clearRect(0, 0, pixels, pixels)
    context.drawImage(photo.image, x, y, side, side, 0, 0, pixels, pixels)
  }, [photo, box.x, box.y, box.width, box.height, size])
  return <canvas ref={ref} class="crop" width={size * 2} height={size * 2} role="img" aria-label={alt} />
}

/** The crop of a face in the gallery, where crops are kept. */
export function KeptCrop({ collection, face, has, alt }: { collection: string; face: string; has: boolean; alt: string }) {
  const [url, setUrl] = useState<string | null>(null)
  useEffect(() => {
    if (!has) return
    const stop = new AbortController()
    let made: string | null = null
    ask(`/api/v1/collections/${encodeURIComponent(collection)}/faces/${face}/crop`, { signal: stop.signal })
      .then(async (response) => {
        made = URL.createObjectURL(await response.blob())
        setUrl(made)
      })
      // Without its crop the face is still in the list.
      .catch(() => {})
    return () => {
      stop.abort()
      if (made) URL.revokeObjectURL(made)
    }
  }, [collection, face, has])
  if (url) return <img class="crop" src={url} alt={alt} />
  return (
    <span class="crop none" role="img" aria-label={has ? alt : `${alt}; its picture is not kept`}>
      <svg viewBox="0 0 24 24" aria-hidden="true">
        <circle cx="12" cy="9.5" r="3.6" />
        <path d="M5 20c.8-4 3.6-5.6 7-5.6s6.2 1.600 7 5.6" />
      </svg>
    </span>
  )
}
