-- Stored analyses.

CREATE TABLE analysis_sessions (
    id                   BLOB PRIMARY KEY NOT NULL,
    user_id              BLOB REFERENCES users (id) ON DELETE SET NULL,
    collection_id        BLOB REFERENCES collections (id) ON DELETE CASCADE,
    image_hash           TEXT NOT NULL,
    image_size           INTEGER NOT NULL,
    mime_type            TEXT NOT NULL,
    total_faces_detected INTEGER NOT NULL,
    processing_time_ms   INTEGER NOT NULL,
    created_at           INTEGER NOT NULL
) STRICT;
CREATE INDEX analysis_sessions_user ON analysis_sessions (user_id, id);
CREATE INDEX analysis_sessions_collection ON analysis_sessions (collection_id, id);
CREATE INDEX analysis_sessions_created ON analysis_sessions (created_at);

-- Filled only where keeping images was configured. Apart, so that lists of analyses never read it.
CREATE TABLE session_images (
    session_id BLOB PRIMARY KEY NOT NULL REFERENCES analysis_sessions (id) ON DELETE CASCADE,
    image      BLOB NOT NULL
) STRICT;

CREATE TABLE face_detections (
    id               BLOB PRIMARY KEY NOT NULL,
    session_id       BLOB NOT NULL REFERENCES analysis_sessions (id) ON DELETE CASCADE,
    face_index       INTEGER NOT NULL,
    detection_method TEXT NOT NULL,
    bounding_box     TEXT NOT NULL,
    landmarks        TEXT,
    confidence_score REAL NOT NULL,
    quality_metrics  TEXT,
    created_at       INTEGER NOT NULL,
    UNIQUE (session_id, face_index)
) STRICT;

-- One row of each kind for a face at most, hence the shared key. No probe's embedding is kept.
CREATE TABLE face_recognitions (
    detection_id       BLOB PRIMARY KEY NOT NULL REFERENCES face_detections (id) ON DELETE CASCADE,
    collection_id      BLOB,
    matched_face_id    BLOB,
    similarity_score   REAL NOT NULL,
    recognition_method TEXT NOT NULL,
    is_verified_match  INTEGER NOT NULL CHECK (is_verified_match IN (0, 1)),
    created_at         INTEGER NOT NULL,
    CHECK (matched_face_id IS NULL OR collection_id IS NOT NULL),
    FOREIGN KEY (collection_id, matched_face_id) REFERENCES faces (collection_id, id) ON DELETE CASCADE
) STRICT;
CREATE INDEX face_recognitions_match ON face_recognitions (collection_id, matched_face_id);

CREATE TABLE antispoof_results (
    detection_id     BLOB PRIMARY KEY NOT NULL REFERENCES face_detections (id) ON DELETE CASCADE,
    is_real          INTEGER CHECK (is_real IN (0, 1)),
    confidence_score REAL NOT NULL,
    spoof_type       TEXT,
    analysis_details TEXT NOT NULL,
    created_at       INTEGER NOT NULL
) STRICT;

CREATE TABLE gender_age_results (
    detection_id      BLOB PRIMARY KEY NOT NULL REFERENCES face_detections (id) ON DELETE CASCADE,
    predicted_gender  TEXT,
    gender_confidence REAL,
    predicted_age     REAL NOT NULL,
    age_range_min     INTEGER,
    age_range_max     INTEGER,
    created_at        INTEGER NOT NULL
) STRICT;

CREATE TABLE deepfake_results (
    detection_id     BLOB PRIMARY KEY NOT NULL REFERENCES face_detections (id) ON DELETE CASCADE,
    is_deepfake      INTEGER CHECK (is_deepfake IN (0, 1)),
    confidence_score REAL NOT NULL,
    detection_method TEXT NOT NULL,
    analysis_details TEXT NOT NULL,
    created_at       INTEGER NOT NULL
) STRICT;

-- Jobs.

-- A worker holds a job as long as it is heard of; attempts counts claims since the last progress.
CREATE TABLE batch_jobs (
    id              BLOB PRIMARY KEY NOT NULL,
    job_type        TEXT NOT NULL,
    user_id         BLOB REFERENCES users (id) ON DELETE SET NULL,
    collection_id   BLOB REFERENCES collections (id) ON DELETE CASCADE,
    status          TEXT NOT NULL CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    total_items     INTEGER NOT NULL,
    processed_items INTEGER NOT NULL DEFAULT 0,
    failed_items    INTEGER NOT NULL DEFAULT 0,
    input_data      TEXT NOT NULL,
    results         TEXT NOT NULL,
    error_message   TEXT,
    worker          TEXT,
    heartbeat_at    INTEGER,
    attempts        INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    completed_at    INTEGER
) STRICT;
CREATE INDEX batch_jobs_open ON batch_jobs (id) WHERE status IN ('pending', 'processing');
CREATE INDEX batch_jobs_user ON batch_jobs (user_id, id);
CREATE INDEX batch_jobs_collection ON batch_jobs (collection_id, id);
CREATE INDEX batch_jobs_completed ON batch_jobs (completed_at);

-- Figures of services, their health, requests. Nothing refers to these rows; retention takes them away.

CREATE TABLE service_metrics (
    id                   BLOB PRIMARY KEY NOT NULL,
    service_name         TEXT NOT NULL,
    endpoint             TEXT NOT NULL,
    request_count        INTEGER NOT NULL,
    avg_response_time_ms REAL NOT NULL,
    min_response_time_ms REAL NOT NULL,
    max_response_time_ms REAL NOT NULL,
    error_count          INTEGER NOT NULL,
    created_at           INTEGER NOT NULL
) STRICT;
CREATE INDEX service_metrics_created ON service_metrics (created_at);

CREATE TABLE health_logs (
    id               BLOB PRIMARY KEY NOT NULL,
    service_name     TEXT NOT NULL,
    status           TEXT NOT NULL,
    response_time_ms REAL,
    error_message    TEXT,
    created_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX health_logs_created ON health_logs (created_at);

-- The actor has no foreign key, so that a batch of requests is stored even if an account was deleted meanwhile; deleting
-- an account clears it here.
CREATE TABLE api_usage (
    id                  BLOB PRIMARY KEY NOT NULL,
    endpoint            TEXT NOT NULL,
    method              TEXT NOT NULL,
    actor_kind          TEXT NOT NULL,
    actor_id            BLOB,
    address             TEXT,
    request_size_bytes  INTEGER NOT NULL,
    response_size_bytes INTEGER NOT NULL,
    response_status     INTEGER NOT NULL,
    processing_time_ms  INTEGER NOT NULL,
    created_at          INTEGER NOT NULL
) STRICT;
CREATE INDEX api_usage_created ON api_usage (created_at);
CREATE INDEX api_usage_actor ON api_usage (actor_id);

-- Settings that outlive a restart. is_secret keeps what the server made for itself out of lists.
CREATE TABLE system_config (
    key        TEXT PRIMARY KEY NOT NULL,
    value      TEXT NOT NULL,
    is_secret  INTEGER NOT NULL DEFAULT 0 CHECK (is_secret IN (0, 1)),
    updated_at INTEGER NOT NULL
) STRICT;

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
SELECT service_name, endpoint, created_at - created_at % 3600000000 AS hour,
       sum(request_count) AS request_count,
       sum(avg_response_time_ms * request_count) / nullif(sum(request_count), 0) AS avg_response_time_ms,
       min(min_response_time_ms) AS min_response_time_ms,
       max(max_response_time_ms) AS max_response_time_ms,
       sum(error_count) AS error_count,
       sum(error_count) * 100.0 / nullif(sum(request_count), 0) AS error_percent
FROM service_metrics
GROUP BY service_name, endpoint, created_at - created_at % 3600000000;
