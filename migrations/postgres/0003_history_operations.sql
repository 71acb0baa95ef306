-- Stored analyses.

CREATE TABLE analysis_sessions (
    id                   uuid PRIMARY KEY,
    user_id              uuid REFERENCES users (id) ON DELETE SET NULL,
    collection_id        uuid REFERENCES collections (id) ON DELETE CASCADE,
    image_hash           text NOT NULL,
    image_size           bigint NOT NULL,
    mime_type            text NOT NULL,
    total_faces_detected integer NOT NULL,
    processing_time_ms   bigint NOT NULL,
    created_at           timestamptz NOT NULL
);
CREATE INDEX analysis_sessions_user ON analysis_sessions (user_id, id);
CREATE INDEX analysis_sessions_collection ON analysis_sessions (collection_id, id);
CREATE INDEX analysis_sessions_created ON analysis_sessions (created_at);

-- Filled only where keeping images was configured. Apart, so that lists of analyses never read it.
CREATE TABLE session_images (
    session_id uuid PRIMARY KEY REFERENCES analysis_sessions (id) ON DELETE CASCADE,
    image      bytea NOT NULL
);

CREATE TABLE face_detections (
    id               uuid PRIMARY KEY,
    session_id       uuid NOT NULL REFERENCES analysis_sessions (id) ON DELETE CASCADE,
    face_index       integer NOT NULL,
    detection_method text NOT NULL,
    bounding_box     jsonb NOT NULL,
    landmarks        jsonb,
    confidence_score real NOT NULL,
    quality_metrics  jsonb,
    created_at       timestamptz NOT NULL,
    UNIQUE (session_id, face_index)
);

-- One row of each kind for a face at most, hence the shared key. No probe's embedding is kept.
CREATE TABLE face_recognitions (
    detection_id       uuid PRIMARY KEY REFERENCES face_detections (id) ON DELETE CASCADE,
    collection_id      uuid,
    matched_face_id    uuid,
    similarity_score   real NOT NULL,
    recognition_method text NOT NULL,
    is_verified_match  boolean NOT NULL,
    created_at         timestamptz NOT NULL,
    CHECK (matched_face_id IS NULL OR collection_id IS NOT NULL),
    FOREIGN KEY (collection_id, matched_face_id) REFERENCES faces (collection_id, id) ON DELETE CASCADE
);
CREATE INDEX face_recognitions_match ON face_recognitions (collection_id, matched_face_id);

CREATE TABLE antispoof_results (
    detection_id     uuid PRIMARY KEY REFERENCES face_detections (id) ON DELETE CASCADE,
    is_real          boolean,
    confidence_score real NOT NULL,
    spoof_type       text,
    analysis_details jsonb NOT NULL,
    created_at       timestamptz NOT NULL
);

CREATE TABLE gender_age_results (
    detection_id      uuid PRIMARY KEY REFERENCES face_detections (id) ON DELETE CASCADE,
    predicted_gender  text,
    gender_confidence real,
    predicted_age     real NOT NULL,
    age_range_min     integer,
    age_range_max     integer,
    created_at        timestamptz NOT NULL
);

CREATE TABLE deepfake_results (
    detection_id     uuid PRIMARY KEY REFERENCES face_detections (id) ON DELETE CASCADE,
    is_deepfake      boolean,
    confidence_score real NOT NULL,
    detection_method text NOT NULL,
    analysis_details jsonb NOT NULL,
    created_at       timestamptz NOT NULL
);

-- Jobs.

-- A worker holds a job as long as it is heard of; attempts counts claims since the last progress.
CREATE TABLE batch_jobs (
    id              uuid PRIMARY KEY,
    job_type        text NOT NULL,
    user_id         uuid REFERENCES users (id) ON DELETE SET NULL,
    collection_id   uuid REFERENCES collections (id) ON DELETE CASCADE,
    status          text NOT NULL CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    total_items     bigint NOT NULL,
    processed_items bigint NOT NULL DEFAULT 0,
    failed_items    bigint NOT NULL DEFAULT 0,
    input_data      jsonb NOT NULL,
    results         jsonb NOT NULL,
    error_message   text,
    worker          text,
    heartbeat_at    timestamptz,
    attempts        integer NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    started_at      timestamptz,
    completed_at    timestamptz
);
CREATE INDEX batch_jobs_open ON batch_jobs (id) WHERE status IN ('pending', 'processing');
CREATE INDEX batch_jobs_user ON batch_jobs (user_id, id);
CREATE INDEX batch_jobs_collection ON batch_jobs (collection_id, id);
CREATE INDEX batch_jobs_completed ON batch_jobs (completed_at);

-- Figures of services, their health, requests. Nothing refers to these rows; retention takes them away.

CREATE TABLE service_metrics (
    id                   uuid PRIMARY KEY,
    service_name         text NOT NULL,
    endpoint             text NOT NULL,
    request_count        bigint NOT NULL,
    avg_response_time_ms double precision NOT NULL,
    min_response_time_ms double precision NOT NULL,
    max_response_time_ms double precision NOT NULL,
    error_count          bigint NOT NULL,
    created_at           timestamptz NOT NULL
);
CREATE INDEX service_metrics_created ON service_metrics (created_at);

CREATE TABLE health_logs (
    id               uuid PRIMARY KEY,
    service_name     text NOT NULL,
    status           text NOT NULL,
    response_time_ms double precision,
    error_message    text,
    created_at       timestamptz NOT NULL
);
CREATE INDEX health_logs_created ON health_logs (created_at);

-- The actor has no foreign key, so that a batch of requests is stored even if an account was deleted meanwhile; deleting
-- an account clears it here.
CREATE TABLE api_usage (
    id                  uuid PRIMARY KEY,
    endpoint            text NOT NULL,
    method              text NOT NULL,
    actor_kind          text NOT NULL,
    actor_id            uuid,
    address             text,
    request_size_bytes  bigint NOT NULL,
    response_size_bytes bigint NOT NULL,
    response_status     integer NOT NULL,
    processing_time_ms  bigint NOT NULL,
    created_at          timestamptz NOT NULL
);
CREATE INDEX api_usage_created ON api_usage (created_at);
CREATE INDEX api_usage_actor ON api_usage (actor_id);

-- Settings that outlive a restart. is_secret keeps what the server made for itself out of lists.
CREATE TABLE system_config (
    key        text PRIMARY KEY,
    value      text NOT NULL,
    is_secret  boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL
);

-- One line for each face of each analysis; an analysis without faces has one, too.
CREATE VIEW face_analysis_summary AS
SELECT s.id AS session_id, s.user_id, s.collection_id, s.created_at, s.processing_time_ms, s.total_faces_detected,
       d.id AS detection_id, d.face_index, d.detection_method, d.confidence_score AS detection_confidence,
       r.matched_face_id, r.similarity_score, r.is_verified_match,
       a.is_real, a.confidence_score AS antispoof_confidence, a.spoof_type,
       g.predicted_gender, g.gender_confidence, g.predicted_age,
       f.is_deepfake, f.confidence_score AS deepfake_confidence
FROM analysis_sessions s
LEFT JOIN face_detections d ON d.session_id = s.id
LEFT JOIN face_recognitions r ON r.detection_id = d.id
LEFT JOIN antispoof_results a ON a.detection_id = d.id
LEFT JOIN gender_age_results g ON g.detection_id = d.id
LEFT JOIN deepfake_results f ON f.detection_id = d.id;

-- By hour; the mean is that of all requests, not of the minutes.
CREATE VIEW service_performance_summary AS
SELECT service_name, endpoint, date_trunc('hour', created_at, 'UTC') AS hour,
       sum(request_count)::bigint AS request_count,
       sum(avg_response_time_ms * request_count) / nullif(sum(request_count), 0) AS avg_response_time_ms,
       min(min_response_time_ms) AS min_response_time_ms,
       max(max_response_time_ms) AS max_response_time_ms,
       sum(error_count)::bigint AS error_count,
       sum(error_count) * 100.0::double precision / nullif(sum(request_count), 0) AS error_percent
FROM service_metrics
GROUP BY service_name, endpoint, date_trunc('hour', created_at, 'UTC');
