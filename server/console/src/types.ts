/** The API's answers, as far as the console reads them. */

export interface Page<T> {
  items: T[]
  next_cursor: string | null
}

export interface Box {
  x: number
  y: number
  width: number
  height: number
  confidence?: number
}

/** In place of an answer that cannot be given. */
export interface Missing {
  status: "unavailable" | "error"
  reason: string
}

export interface Match {
  face_id: string
  similarity: number
  person: { id: string; external_id: string; name: string } | null
}

export interface Recognition {
  model: string
  embedding_dimension: number
  matches?: Match[]
  match_threshold?: number
}

export interface Liveness {
  is_real: boolean
  spoof_score: number
  decision: "live" | "spoof" | "uncertain"
}

export interface Authenticity {
  is_real: boolean
  deepfake_score: number
  decision: "real" | "fake" | "uncertain"
}

export interface Attributes {
  gender: string
  gender_confidence: number
  age: number
  age_range: { min: number; max: number } | null
}

export interface Quality {
  quality_metrics: { overall_score: number } & Record<string, unknown>
  quality_category: string
  recommendations: string[]
}

export interface Face {
  face_id: number
  detection: { bbox: Box; service: string; landmarks?: { points: { name: string; x: number; y: number }[] } | null }
  quality?: Quality | Missing
  recognition?: Recognition | Missing
  antispoofing?: Liveness | Missing
  gender_age?: Attributes | Missing
  deepfake?: Authenticity | Missing
}

export interface Analysis {
  success: boolean
  data: {
    faces: Face[]
    total_faces_detected: number
    [part: string]: unknown
  }
  metadata: {
    request_id: string
    processing_time: string
    model_versions: Record<string, string>
    cached: boolean
    session_id: string | null
  }
}

export interface Comparison {
  similarity: number
  is_same_person: boolean
  threshold: number
  false_accept_rate: number
  model: string
  faces: [Box, Box]
}

export interface Collection {
  id: string
  name: string
  description: string
  created_at: string
  persons: number
  faces: number
}

export interface Person {
  id: string
  external_id: string
  name: string
  metadata: Record<string, unknown>
  created_at: string
  updated_at: string
  faces: number
}

export interface FaceRecord {
  id: string
  person_id: string | null
  bbox: Box
  quality_score: number
  face_group: string
  searchable: boolean
  models: string[]
  has_crop: boolean
  created_at: string
}

export interface Enrolled {
  face: FaceRecord
  person: Person | null
  person_created: boolean
  /** Whose face the gallery takes it for. */
  identity?: {
    matches_person: boolean | null
    possible_duplicates: { similarity: number; person: { id: string; external_id: string; name: string } }[]
  }
}

export interface Identified {
  faces: {
    index: number
    bbox: Box
    quality_score: number
    quality_reasons: string[]
    matches: Match[]
    error?: { detail: string }
  }[]
  threshold: number
  false_accept_rate: number | null
  searched: number
  search_time_ms: number
}

export type JobStatus = "pending" | "processing" | "completed" | "failed" | "cancelled"

export interface Job {
  id: string
  kind: string
  status: JobStatus
  collection_id: string | null
  total_items: number
  processed_items: number
  failed_items: number
  options?: unknown
  results?: Record<string, unknown>
  error: string | null
  created_at: string
  started_at: string | null
  completed_at: string | null
}

export interface Groups {
  unknown_faces: number
  without_embedding: number
  grouped_faces: number
  groups: { faces: string[]; mean_similarity: number }[]
}

export interface Model {
  name: string
  version: string
  services: string[]
  state: "loaded" | "unloaded"
  pinned: boolean
  loads: number
  idle_seconds: number | null
  memory: { weights_mb: number; batch_mb: Record<string, number>; largest_batch: number }
  batches: { run: number; items: number; failed: number; waiting: number }
}

export interface Models {
  models: Model[]
  budgets_mb: Record<string, number>
  budget_total_mb: number
  device_healthy: boolean
}

export interface Health {
  status: "healthy" | "degraded"
  version: string
  services: {
    service_name: string
    service: string
    status: "healthy" | "starting" | "unavailable"
    model: string | null
    reason: string | null
  }[]
  memory_usage: Record<string, unknown> | null
  uptime: number
  timestamp: string
}

export type Role = "admin" | "operator" | "user" | "read-only"

export interface User {
  id: string
  username: string
  email: string | null
  first_name: string
  last_name: string
  role: Role
  collections: string[]
  is_active: boolean
  created_at: string
}

export interface Account extends User {
  permissions: string[]
}

export interface Key {
  id: string
  name: string
  prefix: string
  user_id: string
  scopes: string[]
  collections: string[]
  created_at: string
  expires_at: string | null
  last_used_at: string | null
  revoked_at: string | null
}

export interface Track {
  id: number
  visible: boolean
  bbox: Box
  landmarks: { points: { name: string; x: number; y: number }[] } | null
  frames: number
  best: { quality: number }
  liveness?: { decision: "live" | "spoof" | "uncertain" | null; score: number | null; frames: number }
  gender_age?: { age: number | null; gender: string | null; gender_score: number | null; frames: number }
  identity?: {
    person: { id: string; external_id: string; name: string } | null
    leading: { person: { external_id: string; name: string } | null; votes: number; similarity: number } | null
    frames: number
  }
}

export function isMissing(answer: object): answer is Missing {
  return "status" in answer && "reason" in answer
}
