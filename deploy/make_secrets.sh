#!/bin/sh
# Makes the secrets of compose.yaml, once: random, in deploy/secrets, which git ignores. What is there stays.
# The folder is closed to others; the files are not, because the containers' users read them.
set -eu
folder=$(dirname "$0")/secrets
random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

mkdir -p "$folder"
chmod 700 "$folder"
[ -e "$folder/secret_key" ] || random > "$folder/secret_key"
[ -e "$folder/database_password" ] || random > "$folder/database_password"
password=$(cat "$folder/database_password")
printf 'postgresql://eventsource:%s@postgres:5432/eventsource' "$password" > "$folder/database_url"
chmod 644 "$folder"/*
