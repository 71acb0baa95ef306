/** A refusal of the API: a problem document (RFC 9457), or what stands for one where no answer came. */
export class Problem extends Error {
  constructor(
    /** HTTP status; 0 where there was no answer. */
    readonly status: number,
    /** Stable name of the kind. */
    readonly code: string,
    /** The same few words for every occurrence. */
    readonly title: string,
    /** What was wrong this time. */
    readonly detail: string,
    /** Seconds after which the same request may succeed. */
    readonly retryAfter: number | null = null,
    /** The request, for whoever reads the log. */
    readonly requestId: string | null = null,
    /** What is particular to the kind. */
    readonly members: Record<string, unknown> = {},
  ) {
    super(detail)
  }

  static async of(response: Response): Promise<Problem> {
    const after = Number(response.headers.get("retry-after") ?? NaN)
    const retryAfter = Number.isFinite(after) ? after : null
    const id = response.headers.get("x-request-id")
    try {
      const body = (await response.json()) as Record<string, unknown>
      if (typeof body["code"] === "string" && typeof body["detail"] === "string") {
        const title = typeof body["title"] === "string" ? body["title"] : "The request was refused"
        return new Problem(response.status, body["code"], title, body["detail"], retryAfter, id, body)
      }
    } catch {
      // Not the API's own words, such as a proxy's page: told below.
    }
    return new Problem(
      response.status,
      "UNEXPECTED",
      "An answer that the console does not understand",
      `the answer had the status ${response.status} and was no problem document; something between the browser and the server may have given it`,
      retryAfter,
      id,
    )
  }
}

/** Whatever was thrown, as a problem. */
export function problem(error: unknown): Problem {
  if (error instanceof Problem) return error
  const text = error instanceof Error ? error.message : String(error)
  return new Problem(0, "CONSOLE", "The console failed", text)
}

const todo: Record<string, string> = {
  UNREACHABLE: "Check that the server runs and that this page was opened from it, then try again.",
  UNAUTHENTICATED: "Log in again.",
  FORBIDDEN: "Ask an administrator for the permission, or log in with another account.",
  NO_FACE: "Take a photo with the face nearer and turned to the camera.",
  MULTIPLE_FACES: "Choose the face that is meant, or take a photo of one person.",
  LOW_QUALITY: "Take another photo, or enrol this one all the same: it will be recognised less well.",
  UNSUPPORTED_FORMAT: "Choose a JPEG, PNG, WebP, BMP, GIF or TIFF.",
  CORRUPT_IMAGE: "Choose another file, or export the photo again.",
  PAYLOAD_TOO_LARGE: "Choose a smaller file.",
  IMAGE_TOO_LARGE: "Scale the photo down first.",
  IMAGE_TOO_SMALL: "Choose a larger photo.",
  MODEL_UNAVAILABLE: "The operator can bring the missing network with `facesocial models pull`.",
  OUT_OF_MEMORY: "An operator can unload networks or raise a budget under Models.",
  NOT_READY: "The server is starting; try again in a few seconds.",
  STORE_UNAVAILABLE: "The database does not answer; try again in a few seconds.",
  OVERLOADED: "The server is busy; try again in a few seconds.",
  RATE_LIMITED: "Wait a moment before the next request.",
  IDENTITY_CONFLICT: "Compare the photos; enrol it all the same only if you are sure whose face it is.",
  DUPLICATE_FACE: "This photo is enrolled already; choose another one.",
  ALREADY_EXISTS: "Choose another name.",
  MODEL_MISMATCH: "Start the job “embed again” on the collection under Jobs.",
  PINNED: "Unpin the network first.",
  INTERNAL: "If it happens again, give the request id to whoever runs the server.",
}

/** What the person in front of the page can do. */
export function advice(problem: Problem): string | null {
  const words = todo[problem.code]
  if (words) return words
  return problem.retryAfter === null ? null : `Try again in ${problem.retryAfter} s.`
}
