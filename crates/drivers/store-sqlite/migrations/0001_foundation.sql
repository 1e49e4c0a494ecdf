-- The tables of the foundation. Times are milliseconds since 1970; a mac is HMAC-SHA-256 over table, row, revision and record.

CREATE TABLE deployment (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    record BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;

CREATE TABLE keyrings (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    record BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;

CREATE TABLE keys (
    id BLOB NOT NULL PRIMARY KEY,
    keyring BLOB NOT NULL,
    state TEXT NOT NULL,
    destruction_due INTEGER,
    revision INTEGER NOT NULL,
    record BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE INDEX keys_keyring ON keys (keyring, id);
CREATE INDEX keys_state ON keys (state, id);
CREATE INDEX keys_due ON keys (destruction_due, id) WHERE destruction_due IS NOT NULL;

CREATE TABLE aliases (
    alias TEXT NOT NULL PRIMARY KEY,
    key_id BLOB NOT NULL REFERENCES keys (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_key ON aliases (key_id);

CREATE TABLE material (
    key_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    keyring BLOB NOT NULL,
    shard INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    slot INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (key_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX material_shard ON material (keyring, shard, epoch);

-- Wrapped material itself. A slot is overwritten where it lies and never deleted: when SQLite merges pages after a deletion it
-- leaves copies of the rows it moves in the unused part of the page, where secure_delete does not find them any more. Free
-- slots hold zeros and serve the next material of their size.
CREATE TABLE slots (
    slot INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    free INTEGER NOT NULL CHECK (free IN (0, 1)),
    wrapped BLOB NOT NULL
) STRICT;
CREATE INDEX slots_free ON slots (size) WHERE free = 1;

CREATE TABLE destructions (
    key_id BLOB NOT NULL PRIMARY KEY,
    keyring BLOB NOT NULL,
    shard INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    record BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE INDEX destructions_epoch ON destructions (keyring, shard, epoch);

CREATE TABLE tokens (
    id BLOB NOT NULL PRIMARY KEY,
    principal TEXT NOT NULL,
    expires INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    record BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE INDEX tokens_principal ON tokens (principal);
CREATE INDEX tokens_expires ON tokens (expires);

CREATE TABLE principals (
    name TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    record BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;

CREATE TABLE policies (
    name TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    record BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;

CREATE TABLE idempotency (
    request_key BLOB NOT NULL PRIMARY KEY,
    request BLOB NOT NULL,
    reply BLOB NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX idempotency_expires ON idempotency (expires);

-- Audit records that wait for the journal, in the order in which they were committed.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    holder TEXT NOT NULL,
    ends INTEGER NOT NULL
) STRICT;

-- Written by readiness checks, because only a write shows that writing works.
CREATE TABLE health (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    beat INTEGER NOT NULL
) STRICT;
INSERT INTO health (one, beat) VALUES (1, 0);
