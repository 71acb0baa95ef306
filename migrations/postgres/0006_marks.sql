-- What may happen once: the digest of something that was given out, or seen, until it does not matter any more.
CREATE TABLE marks (
    digest     text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX marks_expiry ON marks (expires_at);
