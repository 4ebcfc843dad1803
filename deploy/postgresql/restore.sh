#!/bin/sh
# restore.sh BACKUP ARCHIVE DATA TIME: makes DATA a copy of BACKUP that will follow ARCHIVE up to TIME when it is started,
# and then opens for writing. TIME carries its zone, as in '2026-11-24 12:00:00+00'. Run it as the server's user.
set -eu
backup=$1 archive=$2 data=$3 time=$4

if [ -e "$data" ]; then
    echo "restore.sh: $data exists: move it away first, it may be the only copy of what came after the backup." >&2
    exit 1
fi
"$(dirname "$0")/verify.sh" "$backup"
cp -R -p "$backup" "$data.part"
chmod 700 "$data.part"
cat >> "$data.part/postgresql.auto.conf" <<END
restore_command = 'cp "$archive/%f" "%p"'
recovery_target_time = '$time'
recovery_target_action = 'promote'
END
touch "$data.part/recovery.signal"
mv "$data.part" "$data"
