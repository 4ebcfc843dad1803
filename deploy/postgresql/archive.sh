#!/bin/sh
# archive_command: archive.sh %p %f FOLDER keeps one finished segment of the write-ahead log.
# PostgreSQL calls it again after a failure or a crash, and drops the segment only after status 0. So a file appears
# under its name only when it is whole and on the disk, and what is there is never overwritten by something else.
set -eu
from=$1 name=$2 folder=$3

if [ -e "$folder/$name" ]; then
    cmp -s "$from" "$folder/$name" && exit 0
    echo "archive.sh: $folder/$name exists and differs: two servers archive to one folder; give each its own." >&2
    exit 1
fi
cp "$from" "$folder/$name.part"
sync "$folder/$name.part"
mv "$folder/$name.part" "$folder/$name"
sync "$folder"
