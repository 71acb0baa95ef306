import { useEffect, useRef, useState } from "preact/hooks"
import { Problem } from "./problem"
import { Button, Trouble } from "./ui"

/** Opens the camera. */
export async function openCamera(): Promise<MediaStream> {
  if (!navigator.mediaDevices) {
    const detail = "browsers give a page the camera only over https, or on localhost"
    throw new Problem(0, "CAMERA", "The camera cannot be used here", detail)
  }
  try {
    return await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 720 } },
    })
  } catch (error) {
    const name = error instanceof DOMException ? error.name : ""
    const why: Record<string, string> = {
      NotAllowedError: "the browser was not allowed to use the camera; allow it beside the address, and try again",
      NotFoundError: "the browser found no camera",
      NotReadableError: "another program uses the camera",
    }
    throw new Problem(0, "CAMERA", "The camera cannot be used", why[name] ?? "the browser could not open the camera")
  }
}

/** What the video shows now, as JPEG. */
export function still(video: HTMLVideoElement, canvas: HTMLCanvasElement, quality: number): Promise<Blob | null> {
  canvas.width = video.videoWidth
  canvas.height = video.videoHeight
  canvas.getContext("2d")?.drawImage(video, 0, 0)
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality))
}

/** Shows the camera until a photo is taken. */
export function Camera({ take, close }: { take: (file: Blob) => void; close: () => void }) {
  const video = useRef<HTMLVideoElement>(null)
  const [ready, setReady] = useState(false)
  const [trouble, setTrouble] = useState<Problem | null>(null)
  useEffect(() => {
    let stopped = false
    let stream: MediaStream | null = null
    openCamera().then(
      (opened) => {
        stream = opened
        if (stopped) return stop()
        if (video.current) video.current.srcObject = opened
      },
      (error: Problem) => setTrouble(error),
    )
    const stop = () => stream?.getTracks().forEach((track) => track.stop())
    return () => {
      stopped = true
      stop()
    }
  }, [])
  const shoot = async () => {
    const blob = video.current && (await still(video.current, document.createElement("canvas"), 0.95))
    if (blob) take(new File([blob], "camera.jpg", { type: "image/jpeg" }))
  }
  return (
    <div class="camera">
      {trouble ? (
        <Trouble of={trouble} />
      ) : (
        <video ref={video} autoPlay muted playsInline aria-label="What the camera sees" onPlaying={() => setReady(true)} />
      )}
      <div class="row middle">
        {!trouble && (
          <Button kind="main" disabled={!ready} onClick={shoot}>
            Take the photo
          </Button>
        )}
        <Button onClick={close}>Close the camera</Button>
      </div>
    </div>
  )
}
