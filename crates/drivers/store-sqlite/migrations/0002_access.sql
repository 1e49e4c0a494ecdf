-- Records of many kinds that share one shape. `due` and `forget` only help to find a row; what counts is in its record.

CREATE TABLE filed (
    kind TEXT NOT NULL,
    id BLOB NOT NULL,
    parent TEXT NOT NULL,
    due INTEGER,
    forget INTEGER,
    revision INTEGER NOT NULL,
    record BLOB NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;
CREATE INDEX filed_parent ON filed (kind, parent, id);
CREATE INDEX filed_due ON filed (kind, due, id) WHERE due IS NOT NULL;
CREATE INDEX filed_forget ON filed (forget) WHERE forget IS NOT NULL;
