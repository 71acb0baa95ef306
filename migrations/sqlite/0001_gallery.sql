-- Times are microseconds since 1970 UTC, identifiers the 16 bytes of a UUID.

CREATE TABLE collections (
    id          BLOB PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

-- The collection of requests that name none.
INSERT INTO collections (id, name, description, created_at)
VALUES (X'00000000000070008000000000000000', 'default', '', CAST(unixepoch('subsec') * 1000000 AS INTEGER));

-- How much a collection holds, kept in step by each change: counting a million rows for each request would cost more
-- than the search. The slots spread the changes over rows where transactions run side by side.
CREATE TABLE collection_counts (
    collection_id BLOB NOT NULL REFERENCES collections (id),
    slot          INTEGER NOT NULL,
    persons       INTEGER NOT NULL,
    faces         INTEGER NOT NULL,
    PRIMARY KEY (collection_id, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE embedding_counts (
    collection_id BLOB NOT NULL REFERENCES collections (id),
    model         TEXT NOT NULL,
    dimension     INTEGER NOT NULL,
    slot          INTEGER NOT NULL,
    embeddings    INTEGER NOT NULL,
    PRIMARY KEY (collection_id, model, dimension, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE persons (
    collection_id BLOB NOT NULL REFERENCES collections (id),
    id            BLOB NOT NULL,
    external_id   TEXT NOT NULL,
    name          TEXT NOT NULL,
    metadata      TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (collection_id, id),
    UNIQUE (collection_id, external_id)
) STRICT;

CREATE TABLE faces (
    collection_id   BLOB NOT NULL REFERENCES collections (id),
    id              BLOB NOT NULL,
    person_id       BLOB,
    face_hash       TEXT NOT NULL,
    box_x           REAL NOT NULL,
    box_y           REAL NOT NULL,
    box_width       REAL NOT NULL,
    box_height      REAL NOT NULL,
    detection_score REAL NOT NULL,
    quality_score   REAL NOT NULL,
    face_group      TEXT NOT NULL,
    searchable      INTEGER NOT NULL CHECK (searchable IN (0, 1)),
    metadata        TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (collection_id, id),
    UNIQUE (collection_id, face_hash),
    FOREIGN KEY (collection_id, person_id) REFERENCES persons (collection_id, id)
) STRICT;
CREATE INDEX faces_person ON faces (collection_id, person_id, id);

-- Little-endian f32, unit norm; sealed by AES-256-GCM where the store has a key.
CREATE TABLE face_embeddings (
    collection_id BLOB NOT NULL,
    face_id       BLOB NOT NULL,
    model         TEXT NOT NULL,
    dimension     INTEGER NOT NULL,
    embedding     BLOB NOT NULL,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (collection_id, face_id, model),
    FOREIGN KEY (collection_id, face_id) REFERENCES faces (collection_id, id)
) STRICT;

-- Filled only where keeping images was configured.
CREATE TABLE face_crops (
    collection_id BLOB NOT NULL,
    face_id       BLOB NOT NULL,
    image         BLOB NOT NULL,
    PRIMARY KEY (collection_id, face_id),
    FOREIGN KEY (collection_id, face_id) REFERENCES faces (collection_id, id)
) STRICT;

-- At most one row: which key seals vectors and images. Opening sealed_check proves that a key is the right one.
CREATE TABLE encryption (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    key_id       TEXT NOT NULL,
    sealed_check BLOB NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

-- No foreign keys: the trail outlives what it tells of.
CREATE TABLE audit_log (
    id            BLOB PRIMARY KEY NOT NULL,
    actor_kind    TEXT NOT NULL,
    actor_id      BLOB,
    address       TEXT,
    request_id    TEXT NOT NULL,
    action        TEXT NOT NULL,
    subject       TEXT,
    collection_id BLOB,
    person_id     BLOB,
    outcome       TEXT NOT NULL,
    details       TEXT NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_log_person ON audit_log (person_id, id) WHERE person_id IS NOT NULL;
CREATE INDEX audit_log_created ON audit_log (created_at);

-- The first answers to changes. Erasing a person clears the outcomes that tell of it and keeps the keys.
CREATE TABLE idempotency_keys (
    principal     TEXT NOT NULL,
    key           TEXT NOT NULL,
    fingerprint   TEXT NOT NULL,
    collection_id BLOB,
    person_id     BLOB,
    subject       TEXT,
    outcome       TEXT,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT;
CREATE INDEX idempotency_keys_person ON idempotency_keys (collection_id, person_id);
CREATE INDEX idempotency_keys_subject ON idempotency_keys (collection_id, subject);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
