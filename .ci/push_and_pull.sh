#!/usr/bin/env bash
# Push, show and pull with the `herdbook` of a directory of programs: push_and_pull.sh BIN
set -euo pipefail

herdbook="$1/herdbook"
home="$(mktemp -d)"
export HERDBOOK_CACHE_DIR="$home/cache"

"$herdbook" serve --data "$home/data" --listen 127.0.0.1:0 --ready-file "$home/ready" 2> "$home/log" &
server=$!
trap 'kill "$server"; wait "$server"; rm -rf "$home"' EXIT

for _ in $(seq 300); do
    [ -s "$home/ready" ] && break
    sleep 0.1
done
HERDBOOK_SERVER="$(cat "$home/ready")"
export HERDBOOK_SERVER

echo weights > "$home/model.bin"
"$herdbook" push fraud "$home/model.bin" --alias champion --metric rmse=1.5
"$herdbook" versions --filter 'metrics.rmse < 2' --json
"$herdbook" pull fraud@champion "$home/pulled"
cmp "$home/model.bin" "$home/pulled/model.bin"
"$herdbook" doctor
