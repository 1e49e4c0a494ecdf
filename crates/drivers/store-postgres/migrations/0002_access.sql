-- Records of many kinds that share one shape. `due` and `forget` only help to find a row; what counts is in its record.

CREATE TABLE filed (
    kind TEXT COLLATE "C" NOT NULL,
    id BYTEA NOT NULL,
    parent TEXT COLLATE "C" NOT NULL,
    due BIGINT,
    forget BIGINT,
    revision BIGINT NOT NULL,
    record BYTEA NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX filed_parent ON filed (kind, parent, id);
CREATE INDEX filed_due ON filed (kind, due, id) WHERE due IS NOT NULL;
CREATE INDEX filed_forget ON filed (forget) WHERE forget IS NOT NULL;
