#!/bin/sh
# base_backup.sh FOLDER: takes a base backup into FOLDER/<time> while the server works, checks it, and prints its path.
# The server is named as for every program of PostgreSQL: PGHOST, PGPORT, PGUSER (a role with REPLICATION), PGPASSFILE.
set -eu
backup=$1/$(date -u +%Y%m%dT%H%M%SZ)

pg_basebackup --pgdata="$backup.part" --checkpoint=fast --wal-method=stream --no-password
"$(dirname "$0")/verify.sh" "$backup.part"
mv "$backup.part" "$backup"
echo "$backup"
