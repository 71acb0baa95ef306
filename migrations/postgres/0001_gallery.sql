-- Everything below a collection carries collection_id in its primary key, so that the tables can be distributed by it.
-- The server makes sure that the extension vector is there (0.8 or newer) before the first of these files runs.

CREATE TABLE collections (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    description text NOT NULL,
    created_at  timestamptz NOT NULL
);

-- The collection of requests that name none.
INSERT INTO collections (id, name, description, created_at)
VALUES ('00000000-0000-7000-8000-000000000000', 'default', '', now());

-- How much a collection holds, kept in step by each change: counting a million rows for each request would cost more
-- than the search. The slots spread the changes over rows, so that enrolments seldom wait for each other.
CREATE TABLE collection_counts (
    collection_id uuid NOT NULL REFERENCES collections (id),
    slot          smallint NOT NULL,
    persons       bigint NOT NULL,
    faces         bigint NOT NULL,
    PRIMARY KEY (collection_id, slot)
) WITH (fillfactor = 50);

CREATE TABLE embedding_counts (
    collection_id uuid NOT NULL REFERENCES collections (id),
    model         text NOT NULL,
    dimension     integer NOT NULL,
    slot          smallint NOT NULL,
    embeddings    bigint NOT NULL,
    PRIMARY KEY (collection_id, model, dimension, slot)
) WITH (fillfactor = 50);

CREATE TABLE persons (
    collection_id uuid NOT NULL REFERENCES collections (id),
    id            uuid NOT NULL,
    external_id   text NOT NULL,
    name          text NOT NULL,
    metadata      jsonb NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    PRIMARY KEY (collection_id, id),
    UNIQUE (collection_id, external_id)
);

CREATE TABLE faces (
    collection_id   uuid NOT NULL REFERENCES collections (id),
    id              uuid NOT NULL,
    person_id       uuid,
    face_hash       text NOT NULL,
    box_x           real NOT NULL,
    box_y           real NOT NULL,
    box_width       real NOT NULL,
    box_height      real NOT NULL,
    detection_score real NOT NULL,
    quality_score   real NOT NULL,
    face_group      text NOT NULL,
    searchable      boolean NOT NULL,
    metadata        jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (collection_id, id),
    UNIQUE (collection_id, face_hash),
    FOREIGN KEY (collection_id, person_id) REFERENCES persons (collection_id, id)
);
CREATE INDEX faces_person ON faces (collection_id, person_id, id);
-- Searches within a rare group score its faces one by one.
CREATE INDEX faces_group ON faces (collection_id, face_group);

-- Vectors of all models and dimensions, unit norm. The server adds one HNSW index for each model and dimension on its
-- first use: face_embeddings_hnsw_<hash of the model>_<dimension>.
CREATE TABLE face_embeddings (
    collection_id uuid NOT NULL,
    face_id       uuid NOT NULL,
    model         text NOT NULL,
    dimension     integer NOT NULL,
    embedding     vector NOT NULL,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (collection_id, face_id, model),
    FOREIGN KEY (collection_id, face_id) REFERENCES faces (collection_id, id),
    CHECK (dimension = vector_dims(embedding))
) PARTITION BY HASH (collection_id);
CREATE TABLE face_embeddings_0 PARTITION OF face_embeddings FOR VALUES WITH (MODULUS 8, REMAINDER 0);
CREATE TABLE face_embeddings_1 PARTITION OF face_embeddings FOR VALUES WITH (MODULUS 8, REMAINDER 1);
CREATE TABLE face_embeddings_2 PARTITION OF face_embeddings FOR VALUES WITH (MODULUS 8, REMAINDER 2);
CREATE TABLE face_embeddings_3 PARTITION OF face_embeddings FOR VALUES WITH (MODULUS 8, REMAINDER 3);
CREATE TABLE face_embeddings_4 PARTITION OF face_embeddings FOR VALUES WITH (MODULUS 8, REMAINDER 4);
CREATE TABLE face_embeddings_5 PARTITION OF face_embeddings FOR VALUES WITH (MODULUS 8, REMAINDER 5);
CREATE TABLE face_embeddings_6 PARTITION OF face_embeddings FOR VALUES WITH (MODULUS 8, REMAINDER 6);
CREATE TABLE face_embeddings_7 PARTITION OF face_embeddings FOR VALUES WITH (MODULUS 8, REMAINDER 7);

-- Filled only where keeping images was configured.
CREATE TABLE face_crops (
    collection_id uuid NOT NULL,
    face_id       uuid NOT NULL,
    image         bytea NOT NULL,
    PRIMARY KEY (collection_id, face_id),
    FOREIGN KEY (collection_id, face_id) REFERENCES faces (collection_id, id)
);

-- No foreign keys: the trail outlives what it tells of.
CREATE TABLE audit_log (
    id            uuid PRIMARY KEY,
    actor_kind    text NOT NULL,
    actor_id      uuid,
    address       text,
    request_id    text NOT NULL,
    action        text NOT NULL,
    subject       text,
    collection_id uuid,
    person_id     uuid,
    outcome       text NOT NULL,
    details       jsonb NOT NULL,
    created_at    timestamptz NOT NULL
);
CREATE INDEX audit_log_person ON audit_log (person_id, id) WHERE person_id IS NOT NULL;
CREATE INDEX audit_log_created ON audit_log (created_at);

-- The first answers to changes. Erasing a person clears the outcomes that tell of it and keeps the keys.
CREATE TABLE idempotency_keys (
    principal     text NOT NULL,
    key           text NOT NULL,
    fingerprint   text NOT NULL,
    collection_id uuid,
    person_id     uuid,
    subject       text,
    outcome       jsonb,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_person ON idempotency_keys (collection_id, person_id);
CREATE INDEX idempotency_keys_subject ON idempotency_keys (collection_id, subject);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

-- The faces of a collection that are most like a vector of the same model, for use from SQL. hnsw.ef_search and
-- hnsw.iterative_scan are the caller's to set.
CREATE FUNCTION find_similar_faces(
    query vector, similarity_threshold double precision, max_results integer, collection uuid, model text)
RETURNS TABLE (face_id uuid, person_id uuid, similarity_score double precision)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- Dimension and model stand in the text because there is one index for each pair of them. The threshold stands
    -- outside, so that the index is not searched to its end for matches that are not there.
    RETURN QUERY EXECUTE format(
        'SELECT s.id, s.person_id, s.similarity FROM (
             SELECT f.id, f.person_id, 1 - ((e.embedding::vector(%1$s)) <=> $1::vector(%1$s)) AS similarity
             FROM face_embeddings e JOIN faces f ON f.collection_id = e.collection_id AND f.id = e.face_id
             WHERE e.collection_id = $2 AND e.model = %2$L AND e.dimension = %1$s AND f.searchable
             ORDER BY (e.embedding::vector(%1$s)) <=> $1::vector(%1$s) LIMIT $3) s
         WHERE s.similarity >= $4 ORDER BY s.similarity DESC, s.id',
        vector_dims(query), model)
    USING query, collection, max_results, similarity_threshold;
END
$$;
