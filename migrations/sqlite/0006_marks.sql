-- What may happen once: the digest of something that was given out, or seen, until it does not matter any more.
CREATE TABLE marks (
    digest     TEXT PRIMARY KEY NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX marks_expiry ON marks (expires_at);
