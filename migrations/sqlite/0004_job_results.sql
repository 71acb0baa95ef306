-- What jobs work through, and what they find, image by image.

-- Where a job's images lie, in their order; none of a job that has an archive.
CREATE TABLE job_items (
    job_id BLOB NOT NULL REFERENCES batch_jobs (id) ON DELETE CASCADE,
    item   INTEGER NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (job_id, item)
) STRICT, WITHOUT ROWID;

-- One row for each image, in the order of the input. Holds no image, and embeddings only where the job was asked for them;
-- sealed where the store has a key.
CREATE TABLE job_results (
    job_id BLOB NOT NULL REFERENCES batch_jobs (id) ON DELETE CASCADE,
    item   INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed', 'erased')),
    line   BLOB NOT NULL,
    PRIMARY KEY (job_id, item)
) STRICT;

-- Which faces of a gallery an image's line names. The line is erased with any of them. No foreign key to the faces: what
-- erases them must still find the lines.
CREATE TABLE job_result_faces (
    job_id        BLOB NOT NULL,
    item          INTEGER NOT NULL,
    collection_id BLOB NOT NULL,
    face_id       BLOB NOT NULL,
    PRIMARY KEY (job_id, item, face_id),
    FOREIGN KEY (job_id, item) REFERENCES job_results (job_id, item) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX job_result_faces_face ON job_result_faces (collection_id, face_id);

-- Whom a job tells how it goes. The row goes, and the secret with it, when the end was told or given up.
CREATE TABLE job_webhooks (
    job_id      BLOB PRIMARY KEY NOT NULL REFERENCES batch_jobs (id) ON DELETE CASCADE,
    url         TEXT NOT NULL,
    secret      BLOB,
    every_items INTEGER NOT NULL DEFAULT 0,
    told_items  INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    due_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX job_webhooks_due ON job_webhooks (due_at);
