-- Accounts, the keys of programs, logins. No account comes with the schema: the first one is made on the first start.

-- username_key and email_key are the lower-case forms that must be unique; the server writes them, so that both backends
-- fold the whole of Unicode alike. A list of collections names them without a foreign key on purpose: an emptied list
-- would mean "all collections", so the identifier of a deleted collection has to stay in it.
CREATE TABLE users (
    id            uuid PRIMARY KEY,
    username      text NOT NULL,
    username_key  text NOT NULL UNIQUE,
    email         text,
    email_key     text UNIQUE,
    password_hash text NOT NULL,
    first_name    text NOT NULL,
    last_name     text NOT NULL,
    role          text NOT NULL CHECK (role IN ('admin', 'operator', 'user', 'read-only')),
    collections   jsonb NOT NULL,
    is_active     boolean NOT NULL DEFAULT true,
    is_verified   boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
CREATE INDEX users_active_admins ON users (id) WHERE role = 'admin' AND is_active;

CREATE TABLE api_keys (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         text NOT NULL,
    prefix       text NOT NULL,
    key_hash     text NOT NULL UNIQUE,
    scopes       jsonb NOT NULL,
    collections  jsonb NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX api_keys_user ON api_keys (user_id, id);

-- One row for each login, so that ending it and renewing its token lock the same row. It expires with its last token.
CREATE TABLE logins (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE INDEX logins_user ON logins (user_id);
CREATE INDEX logins_expiry ON logins (expires_at);

-- Used tokens stay until they expire: a second use is how a stolen copy shows itself.
CREATE TABLE refresh_tokens (
    id         uuid PRIMARY KEY,
    login_id   uuid NOT NULL REFERENCES logins (id) ON DELETE CASCADE,
    token_hash text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX refresh_tokens_login ON refresh_tokens (login_id);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);
